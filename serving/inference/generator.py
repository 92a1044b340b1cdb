"""The generator of an ONNX model file: verified, loaded, warmed up; seeds or latents in, images out."""

import hashlib
from pathlib import Path
from typing import Literal, Self

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike

from serving.errors import InputError, ModelError
from serving.inference.executor import BatchOutput, ParallelSession, join_labels
from serving.inference.latents import ArrayInputs, BatchInputs, GenerationJob, Images, Labels, Latents, LatentSpace
from serving.inference.model_card import ModelCard, read_card, verify_checksum
from serving.inference.model_files import read_model
from serving.inference.onnx_file import read_metadata
from serving.inference.ort_session import Provider, reason

MAX_BATCH = 64  # images in one run: bounds memory however many are requested
MODEL_ID_LENGTH = 16  # hexadecimal digits of the file's SHA-256


class OnnxGenerator:
    """A verified, warm model file. Safe to run from several threads."""

    def __init__(self, path: Path, card: ModelCard, sha256: str, session: ParallelSession) -> None:
        self.path = path
        self.card = card
        self.sha256 = sha256
        self.model_id = sha256[:MODEL_ID_LENGTH]
        self.session = session
        self.latent_space = LatentSpace(card.latent_dim, len(card.classes), np.array(card.mean_latent, np.float32))

    @classmethod
    def load(cls, path: Path | str, provider: Provider = "auto", threads: int = 0) -> Self:
        """Open, check and warm up a model file.

        provider: `auto` takes a GPU where there is one, `cpu` and `cuda` insist. threads: CPU threads of one run; 0
        takes every core. Raises ModelError for a file that is missing, damaged, without a card or inconsistent with its
        card, and for a GPU that is required and cannot be used.
        """
        path = Path(path)
        return cls.open(read_model(path), path, provider, threads)

    @classmethod
    def open(cls, content: bytes, path: Path, provider: Provider = "auto", threads: int = 0) -> Self:
        """Load a model from its file's content, as `load` does; path: the file's, for error messages."""
        metadata = read_metadata(content, str(path))
        card = read_card(metadata, str(path))
        verify_checksum(content, metadata, str(path))
        session = ParallelSession(content, path, provider, threads)
        _check_signature(session.ort_session, card, path)
        generator = cls(path, card, hashlib.sha256(content).hexdigest(), session)
        # One image, a pair, and a pair for each worker: memory is set up, and the batch is seen to be dynamic.
        generator.warm_up((1, 2, 2 * session.workers))
        return generator

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """The hardware that the network runs on."""
        return self.session.provider

    def generate(
        self, seeds: list[int], labels: Labels | None = None, truncation: float = 1.0
    ) -> tuple[Images, Labels | None]:
        """Images uint8 [N, H, W, C] of these seeds, and the labels int64 [N] they were made for.

        labels: int64 [N]; None: a conditional model draws each from its seed. Raises InputError for a seed out of
        range.
        """
        return self._run_in_batches(GenerationJob(self.latent_space, labels, truncation, seeds=seeds))

    def images(self, latents: ArrayLike, labels: ArrayLike | None = None) -> Images:
        """Images uint8 [N, H, W, C] of latents [N, latent_dim], which are not truncated.

        labels: [N] for a conditional model, None for any other. Raises InputError as `check` does.
        """
        return self._run_in_batches(ArrayInputs(*self.check(latents, labels))).images

    def check(self, latents: ArrayLike, labels: ArrayLike | None) -> tuple[Latents, Labels | None]:
        """Return latents as float32 [N, latent_dim] and labels as int64 [N], or raise InputError."""
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
        """Run batches of these sizes once; raises ModelError when one fails or has the wrong shape."""
        for count in batches:
            latents = np.tile(self.latent_space.mean, (count, 1))
            labels = np.zeros(count, np.int64) if self.card.classes else None
            try:
                shape = self.session.run(ArrayInputs(latents, labels)).images.shape
            except Exception as error:  # ONNX Runtime's exceptions share no other base
                raise ModelError(
                    f"{self.path} fails on a batch of {count} ({reason(error)}); export it again"
                ) from error
            wanted = (count, *self.card.image_shape)
            if shape != wanted:
                raise ModelError(
                    f"{self.path}: output images has the shape {list(shape)} for a batch of {count} and the card's "
                    f"resolution and channels say {list(wanted)}; export the model again"
                )

    def _run_in_batches(self, inputs: BatchInputs) -> BatchOutput:
        """Run the network, MAX_BATCH images at a time."""
        images = np.empty((len(inputs), *self.card.image_shape), np.uint8)
        labels: list[Labels | None] = []
        for start in range(0, len(inputs), MAX_BATCH):
            rows = slice(start, min(start + MAX_BATCH, len(inputs)))
            output = self.session.run(inputs.arrays(rows))
            images[rows] = output.images
            labels.append(output.labels)
        return BatchOutput(images, join_labels(labels))


def _check_signature(session: onnxruntime.InferenceSession, card: ModelCard, path: Path) -> None:
    """Raise ModelError for the first input or output that differs from the card."""
    inputs: dict[str, tuple[str, tuple[int, ...]]] = {"z": ("tensor(float)", (card.latent_dim,))}
    if card.classes:
        inputs["label"] = ("tensor(int64)", ())
    outputs: dict[str, tuple[str, tuple[int, ...]]] = {"images": ("tensor(uint8)", card.image_shape)}
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
    tensor: str, dtype: str, shape: list[int | str | None], wanted_dtype: str, wanted_shape: tuple[int, ...]
) -> None:
    """Compare one tensor with the card; sizes that the file leaves open are checked by the warm-up."""
    if dtype != wanted_dtype:
        raise ModelError(f"{tensor} is a {dtype} and must be a {wanted_dtype}; export the model again")
    if not shape or isinstance(shape[0], int):
        raise ModelError(f"{tensor} has the shape {shape}, without a free batch size; export it with a dynamic batch")
    sizes_differ = any(
        isinstance(size, int) and size != wanted for size, wanted in zip(shape[1:], wanted_shape, strict=False)
    )
    if len(shape) != len(wanted_shape) + 1 or sizes_differ:
        raise ModelError(
            f"{tensor} has the shape {shape} and the card asks for {['N', *wanted_shape]}; export it again"
        )
