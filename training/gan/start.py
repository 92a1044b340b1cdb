"""Start of a run from the weights of an earlier one: train.start_from."""

from collections.abc import Sequence
from pathlib import Path

from serving.error_messages import escaped
from training import paths
from training.data.manifest import Manifest
from training.gan.checkpoint import fingerprint
from training.gan.trainer import GANTrainer
from training.gan.training_state import (
    StartError,
    StateDescription,
    TrainingState,
    keep_file,
    load_training_state,
    newest_checkpoint,
)
from training.gan.transfer import Transfer, transfer_discriminator, transfer_generator
from training.params import Params

NONE, AUTO = "none", "auto"  # values of train.start_from that are no file
MAX_LISTED_TAGS = 5


def load_start(params: Params, manifest: Manifest) -> TrainingState | None:
    """State that train.start_from names; None for `none`. Raises StartError when it cannot be used.

    `auto` is the newest checkpoint when the run first started, see `keep_start`.
    """
    start_from = params.train.start_from
    if start_from == NONE:
        return None
    if start_from != AUTO:
        return load_training_state(paths.expand_user_path(start_from))
    kept = _kept_start(params, manifest)
    return load_training_state(kept if kept.exists() else newest_checkpoint())


def keep_start(params: Params, manifest: Manifest, start: TrainingState) -> None:
    """Keep what `auto` was, so that the run resumes from the same weights.

    There may be newer runs by then, and the run that it came from may have removed its older checkpoints.
    """
    kept = _kept_start(params, manifest)
    if params.train.start_from == AUTO and not kept.exists():
        keep_file(start.file, kept)


def _kept_start(params: Params, manifest: Manifest) -> Path:
    """File of `keep_start`, by everything that identifies the run but its start."""
    return paths.persistent_runs() / "starts" / f"{fingerprint(params, manifest, AUTO)}.pt"


def describe(gan: GANTrainer, manifest: Manifest, start: TrainingState | None, run: str) -> StateDescription:
    """Description of the states of a run. run: its fingerprint."""
    params = gan.params
    return StateDescription(
        run=run,
        data=manifest.name,
        data_sha256=manifest.data_sha256,
        images=manifest.description,
        family=params.network.name,
        latent_inputs=gan.ema.latent.size,
        channels=params.data.channels,
        packing=params.stabilise.packing,
        tags=manifest.tags if gan.classes else (),
        lineage=start.lineage if start else (),
    )


def start_networks(gan: GANTrainer, start: TrainingState, new: StateDescription) -> str:
    """Give the new networks of `gan` the weights of `start` where layers fit. Returns one line on what was taken.

    new: description of the run of `gan`. Raises StartError for another family, when nothing fits, and when a layer that
    train.freeze_discriminator would freeze was not taken.
    """
    old = start.description
    if old.family != new.family:
        raise StartError(
            f"{start.file} holds {old.family} networks and network.name is {new.family}; "
            f"set network.name to {old.family}, or start_from to none"
        )
    generator = transfer_generator(start.generator, gan.generator.state_dict(), old, new)
    ema = transfer_generator(start.ema, gan.ema.state_dict(), old, new)
    discriminator = transfer_discriminator(start.discriminator, gan.discriminator.state_dict(), old, new)
    frozen = {name for name, value in gan.discriminator.module.named_parameters() if not value.requires_grad}
    _check(start, generator, discriminator, frozen)
    gan.generator.load_state_dict(generator.state)
    gan.ema.load_state_dict(ema.state)
    gan.discriminator.load_state_dict(discriminator.state)
    if generator.complete:
        gan.earlier_images = start.images_seen
    return (
        f"starting from {start.images_seen / 1000:.1f} kimg of {old.data} ({old.images}), run {old.run}: "
        f"{_count(generator)} of the generator, {_count(discriminator)} of the discriminator{_classes(old, new)}"
    )


def _check(start: TrainingState, generator: Transfer, discriminator: Transfer, frozen: set[str]) -> None:
    """Raise StartError when nothing was taken, or not all of the parameters that are frozen."""
    if not any(generator.taken + discriminator.taken):
        raise StartError(
            f"no layer of {start.file} has the size that params.yaml asks for; "
            "set network.* as they were for that run, or start_from to none"
        )
    if missing := sorted(frozen - discriminator.copied):
        raise StartError(
            f"train.freeze_discriminator would freeze {missing[0]}, which {start.file} does not have in this size; "
            "lower it"
        )


def _count(network: Transfer) -> str:
    if network.complete:
        return f"all {len(network.taken)} layers"
    return f"{sum(network.taken)} of {len(network.taken)} layers"


def _classes(old: StateDescription, new: StateDescription) -> str:
    """Classes, or tags, by what became of them; empty for a model without any."""
    parts = (
        ("classes taken", [tag for tag in new.tags if tag in old.tags]),
        ("new classes", [tag for tag in new.tags if tag not in old.tags]),
    )
    return "".join(f"; {outcome}: {_listed(tags)}" for outcome, tags in parts if tags)


def _listed(tags: Sequence[str]) -> str:
    shown = ", ".join(tags[:MAX_LISTED_TAGS])
    more = len(tags) - MAX_LISTED_TAGS
    return escaped(f"{shown} and {more} more" if more > 0 else shown)
