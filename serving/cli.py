"""Command line `mint`: generate images from a model file or a service, run the service, make API keys."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from itertools import repeat
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from serving.client import MintClient
from serving.client.client import TIMEOUT_S
from serving.encoding.images import encode, png_metadata
from serving.encoding.multi_image import file_names
from serving.errors import InputError, MintError
from serving.files import atomic_write
from serving.http.auth import key_hash, new_key
from serving.http.schemas import ModelResponse
from serving.inference.generator import MAX_BATCH, OnnxGenerator
from serving.inference.labels import label_indices
from serving.inference.latents import MAX_SEED, Images, Labels
from serving.inference.ort_session import Provider

MODEL = "models/generator.onnx"
COMMANDS = "mint.commands"  # entry points with further commands, which other packages register
MAX_SEEDS = 1_000_000  # a typo such as 0-4294967295 should be an error, not fill the memory

MAX_REQUEST_IMAGES = 256  # so that their labels fit in a response header

app = typer.Typer(help="Images from the seeds of a Mint model.", add_completion=False, pretty_exceptions_enable=False)

Batch = tuple[Images, Sequence[int] | None]  # images uint8 [n, H, W, C] and their labels


@app.command()
def generate(
    seeds: Annotated[str, typer.Option(help="seeds and ranges: 7 or 0-15 or 1,5,9-12")],
    out: Annotated[Path, typer.Option(help="folder for the images; created if missing")],
    model: Annotated[
        str | None, typer.Option(help=f"the ONNX file, by default {MODEL}; with --url one of the service's models")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="class name or index; once for all, or once for each seed")
    ] = None,
    truncation: Annotated[float, typer.Option(min=0, max=1, help="0: the average image, 1: full variety")] = 1.0,
    format: Annotated[
        Literal["png", "jpeg", "webp", "npy"], typer.Option(help="npy: one array uint8 [N,H,W,C] of all images")
    ] = "png",
    provider: Annotated[Provider | None, typer.Option(help="execution provider for the file, by default auto")] = None,
    url: Annotated[str | None, typer.Option(help="generate with the service at this address")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="MINT_API_KEY", help="the service's API key, if it requires one")
    ] = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait for the service's response")] = TIMEOUT_S,
) -> None:
    """Write the images of some seeds into a folder."""
    options = GenerateOptions(parse_seeds(seeds), label, truncation, format, out)
    if url is None:
        generator = OnnxGenerator.load(model or MODEL, provider or "auto")
        typer.echo(save(options, generator, partial(local_batches, generator)))
        return
    if provider is not None:
        raise InputError(
            "--provider is for model files; with --url the service has chosen, so leave one of the two out"
        )
    with MintClient(url, key, timeout=timeout) as service:
        info = service.model(model)
        typer.echo(save(options, info, partial(remote_batches, service, info)))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on; overrides MINT_LISTEN")] = None,
    port: Annotated[str | None, typer.Option(help="port to listen on; 0: any free one")] = None,
) -> None:
    """Serve the model over HTTP, by default on http://127.0.0.1:3000; configured by MINT_ environment variables."""
    from serving.server.uvicorn_server import serve as run  # imports that the other commands do not need

    run(host, port)


@app.command("key")
def make_key() -> None:
    """Make an API key, and the hash that the service is configured with."""
    key = new_key()
    typer.echo("# for clients: --key, MINT_API_KEY or `Authorization: Bearer`; this is the only time that it is shown")
    typer.echo(f"MINT_API_KEY={key}")
    typer.echo("# for the service, several with commas between")
    typer.echo(f"MINT_API_KEYS={key_hash(key)}")


@dataclass(frozen=True)
class GenerateOptions:
    """Options of `mint generate` that are the same for a model file and a service."""

    seeds: list[int]
    labels: list[str] | None
    truncation: float
    format: Literal["png", "jpeg", "webp", "npy"]
    out: Path


def save(
    options: GenerateOptions,
    model: OnnxGenerator | ModelResponse,
    generate_batches: Callable[[list[int], Labels | None, float], Iterator[Batch]],
) -> str:
    """Write the images and return a one-line summary."""
    labels = None
    if options.labels is not None:
        labels = label_indices(options.labels, len(options.seeds), model.card.class_names)
    batches = generate_batches(options.seeds, labels, options.truncation)
    try:
        if options.format == "npy":
            names = ["images.npy"]
            with atomic_write(options.out / names[0]) as unfinished:
                write_npy(unfinished, len(options.seeds), (images for images, _ in batches))
        else:
            names = file_names(options.seeds, len(options.seeds), options.format)
            for name, seed, (image, label) in zip(names, options.seeds, unbatch(batches), strict=True):
                class_name = None if label is None else model.card.classes[label]
                text = png_metadata(model.model_id, options.truncation, seed, class_name)
                write_file(options.out / name, encode(image, options.format, text, model.card.background))
    except OSError as error:
        raise InputError(f"{options.out} cannot be written ({error.strerror}); choose another --out") from None
    count = "1 image" if len(options.seeds) == 1 else f"{len(options.seeds)} images"
    last = f" to {names[-1]}" if len(names) > 1 else ""
    return f"wrote {count} of {model.card.name} ({model.card.shape}) to {options.out}: {names[0]}{last}"


def parse_seeds(text: str) -> list[int]:
    """Parse seeds and ranges, in order: `7`, `0-15`, `1,5,9-12`. Raises InputError that names the invalid part."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last] if dash else [first]
        if not all(end.isascii() and end.isdigit() and len(end) <= 10 and int(end) <= MAX_SEED for end in ends):
            raise InputError(f"--seeds: {part[:40]!r} is neither a seed (0 to {MAX_SEED}) nor a range such as 0-15")
        low, high = int(ends[0]), int(ends[-1])
        if low > high:
            raise InputError(f"--seeds: the range {part} runs backwards; write {high}-{low}")
        if len(seeds) + high - low >= MAX_SEEDS:
            raise InputError(f"--seeds: {text[:40]} are more than {MAX_SEEDS} seeds; write fewer at a time")
        seeds.extend(range(low, high + 1))
    return seeds


def local_batches(
    generator: OnnxGenerator, seeds: list[int], labels: Labels | None, truncation: float
) -> Iterator[Batch]:
    """Generate images with a model file, batch by batch so that memory holds one of them."""
    for part in slices(len(seeds), MAX_BATCH):
        images, sampled = generator.generate(seeds[part], None if labels is None else labels[part], truncation)
        yield images, None if sampled is None else sampled.tolist()


def remote_batches(
    service: MintClient, model: ModelResponse, seeds: list[int], labels: Labels | None, truncation: float
) -> Iterator[Batch]:
    """Generate images with a service, at most its limit at a time, all with the model that `model` describes."""
    for part in slices(len(seeds), min(model.limits.max_images, MAX_REQUEST_IMAGES)):
        # By name: an index could be another class's name.
        names = None if labels is None else [model.card.classes[label] for label in labels[part]]
        generated = service.generate(seeds[part], labels=names, truncation=truncation, model=model.model_id)
        yield generated.images, generated.labels


def slices(count: int, size: int) -> Iterator[slice]:
    """Split range(count) into slices of at most `size`."""
    for start in range(0, count, size):
        yield slice(start, start + size)


def unbatch(batches: Iterator[Batch]) -> Iterator[tuple[Images, int | None]]:
    """Iterate over single images uint8 [H, W, C] with their labels."""
    for images, labels in batches:
        yield from zip(images, labels or repeat(None, len(images)), strict=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


def write_npy(path: Path, count: int, batches: Iterator[Images]) -> None:
    """Write a .npy file uint8 [count, H, W, C] batch by batch, so that memory holds one of them."""
    with path.open("wb") as file:
        for number, images in enumerate(batches):
            if number == 0:
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, *images.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(images).data)


def main() -> None:
    """Entry point of the console script; prints expected errors as one sentence on stderr."""
    # sys.exit unwinds the stack, which removes temporary files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for command in entry_points(group=COMMANDS):
        with contextlib.suppress(ModuleNotFoundError):  # the container image is without the training package
            app.command(command.name)(command.load())
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:  # None after `>&-`
                sys.stdout.flush()  # at interpreter exit, a failure would print a traceback
    except MintError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        with contextlib.suppress(OSError):  # the interpreter would flush the rest of the output again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        target = "the output" if error.filename is None else error.filename
        sys.exit(f"error: {target} cannot be used ({error.strerror}); direct it elsewhere")


if __name__ == "__main__":
    main()
