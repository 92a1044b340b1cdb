"""Announcement of a training run by `make train SOURCE=`: a description of the pictures, the plan, and notes."""

from serving.error_messages import escaped
from serving.inference.image_shape import RGBA, Resolution
from training.params import Params
from training.presets import Preset
from training.recommend import MOST, Recommendation
from training.survey import Survey

LISTED_CLASSES = 10
MANY_DUPLICATES = 0.05  # share of the pictures, above which removing copies is worth the work
CROPPED = 0.2  # share of a picture that is cut off at its edges, above which it is mentioned
CHANNEL_NAMES = {1: "grey", 3: "RGB", 4: "RGB with transparency"}


def found_lines(survey: Survey, resolution: Resolution) -> list[str]:
    """Describe the pictures in two lines: count, colour, size and classes; copies, blur and failures.

    resolution: what they will be trained at.
    """
    kind = "transparent" if survey.transparent > MOST else "colour" if survey.coloured > MOST else "grey"
    about = "" if len({(picture.width, picture.height) for picture in survey.stats}) == 1 else "about "
    side = min(resolution)
    return [
        f"{survey.pictures:,} {kind} pictures, {about}{survey.width} px wide and {survey.height} high, "
        + _classes(survey.classes),
        f"{survey.duplicates:,} near-duplicates, {survey.blurred(side):.0%} blurred at {side} px, "
        f"{survey.unreadable:,} unreadable (looked at {survey.examined:,})",
    ]


def plan_lines(params: Params, preset: Preset, survey: Survey, images_per_second: float) -> list[str]:
    """Describe the training in three lines: images, length at the measured speed, what to expect, what to change."""
    data, length = params.data, params.train.length
    per_unit = {"minutes": images_per_second * 60, "epochs": survey.readable, "kimg": 1000}[length.unit]
    images = length.amount * per_unit
    return [
        f"training {data.resolution} px {CHANNEL_NAMES[data.channels]}, preset {preset.name}, about "
        f"{_rounded(images / 1000)} kimg in {_rounded(images / images_per_second / 60)} minutes on this machine: "
        f"each picture {_rounded(images / survey.readable)} times",
        f"expect {preset.shows}; better with more MINUTES= or a faster machine",
        "to choose for yourself: MINUTES=, RESOLUTION=, CHANNELS=, PRESET= (make presets lists them)",
    ]


def notes(params: Params, preset: Preset, survey: Survey, choice: Recommendation) -> list[str]:
    """Say what becomes of the pictures that their owner may not expect, and how to change it."""
    data, found = params.data, []
    if preset.values.get("data", {}).get("resolution") == data.resolution.notation != choice.resolution.notation:
        found.append(f"the resolution is the preset's; RESOLUTION={choice.resolution} fits the pictures")
    if data.channels == 1 and survey.coloured > 0:
        found.append(f"{survey.coloured:.0%} are in colour and become grey; CHANNELS=3 keeps their colours")
    if data.channels < RGBA and survey.transparent > 0:
        found.append(f"{survey.transparent:.0%} are transparent in part and get a background; CHANNELS=4 keeps it")
    if (cut := survey.cut_off(data.resolution.width / data.resolution.height)) > CROPPED:
        found.append(f"{cut:.0%} of the usual picture is cut off at its edges")
    if survey.duplicates > MANY_DUPLICATES * survey.examined:
        found.append("a generator repeats near-duplicates; remove them for more variety")
    if params.train.horizontal_flip:
        found.append("mirrored too; where left and right differ, as in text: train.horizontal_flip: 0, then make train")
    return [f"note: {note}" for note in found]


def _classes(counts: dict[str, int]) -> str:
    """Format the classes: `2 classes: cat (6), dog (7)`."""
    if not counts:
        return "no classes"
    listed = ", ".join(f"{escaped(name)} ({counts[name]:,})" for name in list(counts)[:LISTED_CLASSES])
    rest = ", ..." if len(counts) > LISTED_CLASSES else ""
    return f"{len(counts)} {'class' if len(counts) == 1 else 'classes'}: {listed}{rest}"


def _rounded(number: float) -> str:
    """Format a number with two significant digits."""
    return f"{float(f'{number:.2g}'):,.0f}" if number >= 10 else f"{number:.2g}"
