"""Where the report's pictures lie, relative to it, and what they show in words."""

from pathlib import PurePosixPath

from benchmarks.experiments.content import Figure

SHEETS, CURVES = "sheets", "curves"
NO_SHEET = "Its first run exploded before there was a sheet."


def sheet_path(variant: str, epoch: int) -> PurePosixPath:
    """The sheet of a variant after an epoch."""
    return PurePosixPath(SHEETS, f"{variant}-epoch-{epoch:04d}.png")


def curve_path(variant: str) -> PurePosixPath:
    """The curves of a variant."""
    return PurePosixPath(CURVES, f"{variant}.svg")


def sheet_alt(figure: Figure, epoch: int) -> str:
    """What a sheet shows, for those who do not see it, with what the classifier saw then."""
    text = f"Samples of {figure.label} after epoch {epoch}, 20 fixed seeds"
    look = next((look for look in figure.result.seeds[0].looks if look.epoch == epoch), None)
    return f"{text}; {look.coverage:.0%} of the classes, diversity {look.diversity:.0%} of real" if look else text
