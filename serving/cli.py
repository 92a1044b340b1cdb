"""The `mint` command: the service's images, without a server."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from serving.errors import InputError, MintError
from serving.files import replacing
from serving.generator import MAX_BATCH, Generator, Images, Provider
from serving.images import encode, file_names, to_npy
from serving.labels import label_indices
from serving.latents import MAX_SEED, Labels

MOST_SEEDS = 1_000_000  # so that a slip such as 0-4294967295 is an answer, not a full memory

app = typer.Typer(help="Images from the seeds of a model file.", add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def mint() -> None:
    """Keeps `generate` a subcommand while it is the only one."""


@app.command()
def generate(
    seeds: Annotated[str, typer.Option(help="seeds and ranges of them: 7 or 0-15 or 1,5,9-12")],
    out: Annotated[Path, typer.Option(help="folder for the images; made if it is not there")],
    model: Annotated[Path, typer.Option(help="the ONNX file that `dvc repro` exports")] = Path("models/generator.onnx"),
    label: Annotated[
        list[str] | None, typer.Option(help="class name or index; once for all, or once for each seed")
    ] = None,
    truncation: Annotated[float, typer.Option(min=0, max=1, help="0: the average image, 1: full variety")] = 1.0,
    format: Annotated[
        Literal["png", "jpeg", "webp", "npy"], typer.Option(help="npy: one array uint8 [N,H,W,C] of all images")
    ] = "png",
    provider: Annotated[Provider, typer.Option(help="what to run on")] = "auto",
) -> None:
    """Write the images of some seeds into a folder."""
    numbers = parse_seeds(seeds)
    generator = Generator.load(model, provider)
    labels = label_indices(label, len(numbers), generator.card.classes)
    batches = draw_batches(generator, numbers, labels, truncation)
    try:
        if format == "npy":
            names = ["images.npy"]
            write(out / names[0], to_npy(np.concatenate(list(batches))))
        else:
            names = file_names(numbers, len(numbers), format)
            for name, image in zip(names, (image for batch in batches for image in batch), strict=True):
                write(out / name, encode(image, format))
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); choose another --out") from None
    images = "1 image" if len(numbers) == 1 else f"{len(numbers)} images"
    last = f" to {names[-1]}" if len(names) > 1 else ""
    typer.echo(f"wrote {images} of {generator.card.name} ({generator.card.shape}) to {out}: {names[0]}{last}")


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
        if len(seeds) + high - low >= MOST_SEEDS:
            raise InputError(f"--seeds: {text[:40]} are more than {MOST_SEEDS} seeds; write fewer at a time")
        seeds.extend(range(low, high + 1))
    return seeds


def draw_batches(generator: Generator, seeds: list[int], labels: Labels | None, truncation: float) -> Iterator[Images]:
    """The images of `seeds` in runs of uint8 [n, H, W, C], so that memory holds one run at a time."""
    for start in range(0, len(seeds), MAX_BATCH):
        part = slice(start, start + MAX_BATCH)
        images, _ = generator.draw(seeds[part], None if labels is None else labels[part], truncation)
        yield images


def write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def main() -> None:
    """The console script: errors that are meant for people are one sentence on stderr."""
    try:
        app()
    except MintError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
