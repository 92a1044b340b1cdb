"""The `mint` command: images from a model file without a server, or from a server; and keys for one."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
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
MAX_SEEDS = 1_000_000  # so that a slip such as 0-4294967295 is an answer, not a full memory

IMAGES_OF_A_REQUEST = 256  # of a service: the labels of so many fit a header

app = typer.Typer(help="Images from the seeds of a Mint model.", add_completion=False, pretty_exceptions_enable=False)

Batch = tuple[Images, Sequence[int] | None]  # uint8 [n, H, W, C], and the labels that they were made for


@app.command()
def generate(
    seeds: Annotated[str, typer.Option(help="seeds and ranges of them: 7 or 0-15 or 1,5,9-12")],
    out: Annotated[Path, typer.Option(help="folder for the images; made if it is not there")],
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
    provider: Annotated[Provider | None, typer.Option(help="what to run the file on, by default auto")] = None,
    url: Annotated[str | None, typer.Option(help="let the service at this address make the images")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="MINT_API_KEY", help="the service's key, if it asks for one")
    ] = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait for an answer of the service")] = TIMEOUT_S,
) -> None:
    """Write the images of some seeds into a folder."""
    order = GenerateOptions(parse_seeds(seeds), label, truncation, format, out)
    if url is None:
        generator = OnnxGenerator.load(model or MODEL, provider or "auto")
        typer.echo(save(order, generator, partial(draw_batches, generator)))
        return
    if provider is not None:
        raise InputError(
            "--provider is for model files; with --url the service has chosen, so leave one of the two out"
        )
    with MintClient(url, key, timeout=timeout) as service:
        described = service.model(model)
        typer.echo(save(order, described, partial(fetch_batches, service, described)))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on, in place of that in MINT_LISTEN")] = None,
    port: Annotated[str | None, typer.Option(help="port to listen on; 0: any free one")] = None,
) -> None:
    """Serve the model over HTTP, on http://127.0.0.1:3000 unless told otherwise; MINT_ variables are its settings."""
    from serving.server.uvicorn_server import serve as run  # with what the other commands have no need of

    run(host, port)


@app.command("key")
def make_key() -> None:
    """Make a key for the service, and the hash by which the service knows it."""
    key = new_key()
    typer.echo("# for clients: --key, MINT_API_KEY or `Authorization: Bearer`; this is the only time that it is shown")
    typer.echo(f"MINT_API_KEY={key}")
    typer.echo("# for the service, several with commas between")
    typer.echo(f"MINT_API_KEYS={key_hash(key)}")


@dataclass(frozen=True)
class GenerateOptions:
    """Which images, and where to."""

    seeds: list[int]
    labels: list[str] | None
    truncation: float
    format: Literal["png", "jpeg", "webp", "npy"]
    out: Path


def save(
    order: GenerateOptions,
    model: OnnxGenerator | ModelResponse,
    draw: Callable[[list[int], Labels | None, float], Iterator[Batch]],
) -> str:
    """Writes the images of an order, and returns a line that says so."""
    labels = None
    if order.labels is not None:
        labels = label_indices(order.labels, len(order.seeds), model.card.class_names)
    batches = draw(order.seeds, labels, order.truncation)
    try:
        if order.format == "npy":
            names = ["images.npy"]
            with atomic_write(order.out / names[0]) as unfinished:
                write_npy(unfinished, len(order.seeds), (images for images, _ in batches))
        else:
            names = file_names(order.seeds, len(order.seeds), order.format)
            for name, seed, (image, label) in zip(names, order.seeds, one_by_one(batches), strict=True):
                class_name = None if label is None else model.card.classes[label]
                text = png_metadata(model.model_id, order.truncation, seed, class_name)
                write(order.out / name, encode(image, order.format, text))
    except OSError as error:
        raise InputError(f"{order.out} cannot be written ({error.strerror}); choose another --out") from None
    count = "1 image" if len(order.seeds) == 1 else f"{len(order.seeds)} images"
    last = f" to {names[-1]}" if len(names) > 1 else ""
    return f"wrote {count} of {model.card.name} ({model.card.shape}) to {order.out}: {names[0]}{last}"


def parse_seeds(text: str) -> list[int]:
    """Seeds in the order given: `7`, `0-15`, `1,5,9-12`. Raises InputError that names the part at fault."""
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


def draw_batches(
    generator: OnnxGenerator, seeds: list[int], labels: Labels | None, truncation: float
) -> Iterator[Batch]:
    """The images of `seeds`, so many at a time that memory holds one run."""
    for part in parts(len(seeds), MAX_BATCH):
        images, drawn = generator.generate(seeds[part], None if labels is None else labels[part], truncation)
        yield images, None if drawn is None else drawn.tolist()


def fetch_batches(
    service: MintClient, model: ModelResponse, seeds: list[int], labels: Labels | None, truncation: float
) -> Iterator[Batch]:
    """The same from a service, so many at a time as it allows, all of the very model that `model` describes."""
    for part in parts(len(seeds), min(model.limits.max_images, IMAGES_OF_A_REQUEST)):
        # By name: an index could be another class's name.
        asked = None if labels is None else [model.card.classes[label] for label in labels[part]]
        made = service.generate(seeds[part], labels=asked, truncation=truncation, model=model.model_id)
        yield made.images, made.labels


def parts(count: int, size: int) -> Iterator[slice]:
    """0 .. count in slices of at most `size`."""
    for start in range(0, count, size):
        yield slice(start, start + size)


def one_by_one(batches: Iterator[Batch]) -> Iterator[tuple[Images, int | None]]:
    """Each image uint8 [H, W, C] with its label."""
    for images, labels in batches:
        yield from zip(images, labels or repeat(None, len(images)), strict=True)


def write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


def write_npy(path: Path, count: int, batches: Iterator[Images]) -> None:
    """A .npy file uint8 [count, H, W, C], batch by batch: memory holds one of them."""
    with path.open("wb") as file:
        for number, images in enumerate(batches):
            if number == 0:
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, *images.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(images).data)


def main() -> None:
    """The console script: errors that are meant for people are one sentence on stderr."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an exit removes unfinished files
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:  # as `>&-` leaves it
                sys.stdout.flush()  # what fails when the interpreter ends is a traceback that nobody can catch
    except MintError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        with contextlib.suppress(OSError):  # what is left of the output is not tried again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        what = "the output" if error.filename is None else error.filename
        sys.exit(f"error: {what} cannot be used ({error.strerror}); direct it elsewhere")


if __name__ == "__main__":
    main()
