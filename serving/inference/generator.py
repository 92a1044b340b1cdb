"""A model file in use: verify it, load it, warm it up, run it."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Literal, Self

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike

from serving.errors import InputError, ModelError, ModelUnreadableError
from serving.inference import latents as latent_space
from serving.inference.executor import ArrayInputs, BatchInputs, Images, ParallelSession
from serving.inference.latents import Labels, Latents
from serving.inference.model_card import ModelCard, read_card, verify_checksum
from serving.inference.onnx_file import MAX_FILE_BYTES, read_metadata
from serving.inference.ort_session import Provider, reason

MAX_BATCH = 64  # images in one run: bounds memory whatever is asked for
MODEL_ID_LENGTH = 16  # hexadecimal digits of the file's SHA-256


class OnnxGenerator:
    """A verified, warm model file. Safe to run from several threads."""

    def __init__(self, path: Path, card: ModelCard, sha256: str, network: ParallelSession) -> None:
        self.path = path
        self.card = card
        self.sha256 = sha256
        self._network = network
        self._mean_latent = np.array(card.mean_latent, np.float32)

    @classmethod
    def load(cls, path: Path | str, provider: Provider = "auto", threads: int = 0) -> Self:
        """Opens, checks and warms up a model file.

        provider: `auto` takes a GPU where there is one, `cpu` and `cuda` insist. threads: CPU
        threads of one run; 0 takes every core. Raises ModelError with one
        sentence for a file that is missing, damaged, without a card or at odds with its card, and
        for a GPU that is insisted on and cannot be used.
        """
        path = Path(path)
        return cls.open(read_file(path), path, provider, threads)

    @classmethod
    def open(cls, content: bytes, path: Path, provider: Provider = "auto", threads: int = 0) -> Self:
        """The same for the content of a model file that has been read; path: where from."""
        metadata = read_metadata(content, str(path))
        card = read_card(metadata, str(path))
        verify_checksum(content, metadata, str(path))
        network = ParallelSession(content, path, provider, threads)
        _check_signature(network.description, card, path)
        generator = cls(path, card, hashlib.sha256(content).hexdigest(), network)
        # One image, a pair, and a pair in each lane: memory is set up, and the batch is seen to be dynamic.
        generator.warm_up((1, 2, 2 * network.lanes))
        return generator

    @property
    def model_id(self) -> str:
        """What tells this file from every other: the start of its SHA-256, in hexadecimal."""
        return self.sha256[:MODEL_ID_LENGTH]

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """What the network really runs on."""
        return self._network.provider

    def inputs(
        self, seeds: list[int], labels: Labels | None = None, truncation: float = 1.0
    ) -> tuple[Latents, Labels | None]:
        """What the network is fed for these seeds: latents float32 [N, latent_dim] and labels int64 [N].

        labels: int64 [N]; None lets a conditional model's seeds draw their own. The labels that
        come back are None for a model without classes. Raises InputError for a seed out of range.
        """
        for position, seed in enumerate(seeds):
            if not 0 <= seed <= latent_space.MAX_SEED:
                raise InputError(
                    f"seed {str(seed)[:20]} is out of range; seeds are whole numbers from 0 to {latent_space.MAX_SEED}",
                    "seeds",
                    position,
                )
        undecided = len(self.card.classes) if labels is None else 0
        latents, drawn = latent_space.from_seeds(seeds, self.card.latent_dim, undecided)
        if undecided:
            labels = drawn
        return self.truncate(latents, truncation), labels

    def truncate(self, latents: Latents, truncation: float) -> Latents:
        """Moves latents [N, latent_dim] toward the model's mean latent; 1 leaves them as they are."""
        return latent_space.truncate(latents, self._mean_latent, truncation)

    def draw(
        self, seeds: list[int], labels: Labels | None = None, truncation: float = 1.0
    ) -> tuple[Images, Labels | None]:
        """Images uint8 [N, H, W, C] of these seeds, with the labels they were made for."""
        latents, labels = self.inputs(seeds, labels, truncation)
        return self.images(latents, labels), labels

    def images(self, latents: ArrayLike, labels: ArrayLike | None = None) -> Images:
        """Runs the network, MAX_BATCH images at a time.

        latents: [N, latent_dim]; labels: [N] for a conditional model, None for any other. Returns
        uint8 [N, H, W, C]. Raises InputError as `check` does.
        """
        checked, indices = self.check(latents, labels)
        side = self.card.resolution
        images = np.empty((len(checked), side, side, self.card.channels), np.uint8)
        for start in range(0, len(checked), MAX_BATCH):
            part = slice(start, start + MAX_BATCH)
            images[part] = self.run(ArrayInputs(checked[part], None if indices is None else indices[part]))
        return images

    def run(self, inputs: BatchInputs) -> Images:
        """One run of the network on what `inputs` or `check` has made; images uint8 [N, H, W, C]."""
        return self._network.run(inputs)

    def check(self, latents: ArrayLike, labels: ArrayLike | None) -> tuple[Latents, Labels | None]:
        """Returns latents as float32 [N, latent_dim] and labels as int64 [N], or raises InputError."""
        with np.errstate(over="ignore"):  # a number too large for 32 bits becomes inf and is named below
            z = np.asarray(latents, np.float32)
        if z.ndim != 2 or z.shape[1] != self.card.latent_dim:
            raise InputError(
                f"the latents have the shape {list(z.shape)} and this model takes [N, {self.card.latent_dim}]",
                "latents",
            )
        if not np.isfinite(z).all():
            row, column = np.argwhere(~np.isfinite(z))[0].tolist()
            raise InputError(
                f"latents[{row}][{column}] is not a finite 32-bit number; most of a latent is within -4 to 4",
                "latents",
                row,
                column,
            )
        return z, self._check_labels(labels, len(z))

    def _check_labels(self, labels: ArrayLike | None, count: int) -> Labels | None:
        classes = self.card.classes
        if not classes:
            if labels is not None:
                raise InputError("this model has no classes; leave labels out", "labels")
            return None
        if labels is None:
            raise InputError(
                f"these latents need labels; this model's classes are {self.card.class_names.listed}", "labels"
            )
        indices = np.asarray(labels)
        if indices.shape != (count,) or not np.issubdtype(indices.dtype, np.integer):
            raise InputError(f"the labels must be {count} whole numbers, one for each image", "labels")
        if count and not (indices.min() >= 0 and indices.max() < len(classes)):
            raise InputError(f"the labels must be from 0 to {len(classes) - 1}", "labels")
        return indices.astype(np.int64)

    def warm_up(self, batches: tuple[int, ...]) -> None:
        """Runs batches of these sizes once; raises ModelError when one fails or has the wrong shape."""
        side, channels = self.card.resolution, self.card.channels
        for count in batches:
            latents = np.tile(self._mean_latent, (count, 1))
            labels = np.zeros(count, np.int64) if self.card.classes else None
            try:
                shape = self.run(ArrayInputs(latents, labels)).shape
            except Exception as error:  # ONNX Runtime's exceptions share no other base
                raise ModelError(
                    f"{self.path} fails on a batch of {count} ({reason(error)}); export it again"
                ) from error
            if shape != (count, side, side, channels):
                raise ModelError(
                    f"{self.path}: output images has the shape {list(shape)} for a batch of {count} and the card's "
                    f"resolution and channels say {[count, side, side, channels]}; export the model again"
                )


def read_file(path: Path) -> bytes:
    """The content of a model file; raises UnreadableError, or ModelError for what is no file or too large."""
    try:
        # A FIFO would keep its reader waiting for a writer, but for this flag; to files it makes no difference.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ModelError(f"{path} cannot be read (it is not a regular file); put a model file in its place")
            if found.st_size > MAX_FILE_BYTES:
                raise ModelError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MB; export a smaller model")
            return file.read()
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; train a model with `make train`, or name another file") from None
    except OSError as error:
        raise ModelUnreadableError(
            f"{path} cannot be read ({error.strerror}); check the path and its permissions"
        ) from None


def _check_signature(session: onnxruntime.InferenceSession, card: ModelCard, path: Path) -> None:
    """Raises ModelError for the first input or output that the card does not describe."""
    side = card.resolution
    inputs: dict[str, tuple[str, tuple[int, ...]]] = {"z": ("tensor(float)", (card.latent_dim,))}
    if card.classes:
        inputs["label"] = ("tensor(int64)", ())
    outputs: dict[str, tuple[str, tuple[int, ...]]] = {"images": ("tensor(uint8)", (side, side, card.channels))}
    for kind, nodes, wanted in (("input", session.get_inputs(), inputs), ("output", session.get_outputs(), outputs)):
        found = {node.name: (node.type, node.shape) for node in nodes}
        if found.keys() != wanted.keys():
            raise ModelError(
                f"{path}: the {kind}s are {', '.join(sorted(found))} and its card (classes: {len(card.classes)}) asks "
                f"for {', '.join(sorted(wanted))}; export the model again"
            )
        for name, (dtype, shape) in wanted.items():
            _check_tensor(f"{path}: {kind} {name}", *found[name], dtype, shape)


def _check_tensor(
    what: str, dtype: str, shape: list[int | str | None], wanted_dtype: str, wanted_shape: tuple[int, ...]
) -> None:
    """Compares one tensor with the card's; a size that the file leaves open is seen in the warm-up."""
    if dtype != wanted_dtype:
        raise ModelError(f"{what} is a {dtype} and must be a {wanted_dtype}; export the model again")
    if not shape or isinstance(shape[0], int):
        raise ModelError(f"{what} has the shape {shape}, without a free batch size; export it with a dynamic batch")
    sizes_differ = any(
        isinstance(size, int) and size != wanted for size, wanted in zip(shape[1:], wanted_shape, strict=False)
    )
    if len(shape) != len(wanted_shape) + 1 or sizes_differ:
        raise ModelError(f"{what} has the shape {shape} and the card asks for {['N', *wanted_shape]}; export it again")
