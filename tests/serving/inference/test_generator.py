"""OnnxGenerator: a model file matches its card or is refused; equal seeds give equal images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.errors import InputError, ModelError
from serving.inference.generator import MAX_BATCH, OnnxGenerator
from serving.inference.latents import ArrayInputs
from serving.inference.ort_session import cuda_devices
from tests.pixels import assert_same_pixels
from tests.tiny_model import save, tiny_card, tiny_model, with_card


def test_a_seed_gives_the_same_image_alone_and_in_a_batch(generator: OnnxGenerator) -> None:
    alone, _ = generator.generate([7])
    batch, _ = generator.generate([3, 7, 11])
    assert_same_pixels(alone[0], batch[1])


def test_the_same_seeds_give_equal_images_every_time(generator: OnnxGenerator, model_path: Path) -> None:
    again = OnnxGenerator.load(model_path, provider="cpu")
    assert_same_pixels(generator.generate([0, 2**32 - 1])[0], again.generate([0, 2**32 - 1])[0])


def test_images_depend_on_the_seed_and_on_the_label(generator: OnnxGenerator) -> None:
    images, labels = generator.generate([1, 2, 2], np.array([0, 0, 1]))
    assert images.shape == (3, 8, 8, 3)
    assert images.dtype == np.uint8
    assert labels is not None
    assert labels.tolist() == [0, 0, 1]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


def test_a_seed_draws_its_own_label_and_keeps_its_latent_under_another_label(generator: OnnxGenerator) -> None:
    latents, drawn = generator.latent_space.sample([7])
    same_latents, given = generator.latent_space.sample([7], np.array([2]))
    assert drawn is not None
    assert 0 <= drawn[0] < 3
    assert given is not None
    assert given[0] == 2
    assert np.array_equal(latents, same_latents)


def test_truncation_zero_gives_every_seed_the_same_image(generator: OnnxGenerator) -> None:
    images, _ = generator.generate([1, 2, 3], np.zeros(3, np.int64), truncation=0)
    assert_same_pixels(images[[0, 1]], images[[1, 2]])


def test_more_seeds_than_a_batch_each_get_their_image(generator: OnnxGenerator) -> None:
    seeds = list(range(2 * MAX_BATCH + 1))
    images, _ = generator.generate(seeds)
    last, _ = generator.generate(seeds[-1:])
    assert len(images) == len(seeds)
    assert_same_pixels(images[-1], last[0])


def test_a_model_without_classes_takes_no_labels(generator_without_classes: OnnxGenerator) -> None:
    images, labels = generator_without_classes.generate([1])
    assert images.shape == (1, 8, 8, 1)
    assert labels is None
    with pytest.raises(InputError, match="has no classes; leave labels out"):
        generator_without_classes.images(np.zeros((1, 8)), np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("latents", "labels", "sentence"),
    [
        (np.zeros((1, 7)), [0], r"the shape \[1, 7\] and this model takes \[N, 8\]"),
        (np.zeros(8), [0], r"the shape \[8\]"),
        ([[0, 0, 0, np.nan, 0, 0, 0, 0]], [0], r"latents\[0\]\[3\] is not a finite"),
        ([[1e39] * 8], [0], r"latents\[0\]\[0\] is not a finite 32-bit number"),
        (np.zeros((1, 8)), None, "need labels; this model's classes are cat, dog, eel"),
        (np.zeros((1, 8)), [3], "must be from 0 to 2"),
        (np.zeros((1, 8)), [-1], "must be from 0 to 2"),
        (np.zeros((1, 8)), [0.5], "must be 1 whole numbers"),
        (np.zeros((2, 8)), [0], "must be 2 whole numbers, one for each image"),
    ],
)
def test_invalid_latents_and_labels_are_refused(
    generator: OnnxGenerator, latents: object, labels: object, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        generator.images(latents, labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(generator: OnnxGenerator, seed: int) -> None:
    with pytest.raises(InputError, match=f"seed {seed} is out of range; seeds are whole numbers from 0 to 4294967295"):
        generator.generate([seed])


def test_a_truncated_model_file_is_refused(model_path: Path, tmp_path: Path) -> None:
    content = model_path.read_bytes()
    for length in [0, 1, *range(50, len(content), len(content) // 40), len(content) - 1]:
        cut = tmp_path / "cut.onnx"
        cut.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"cut\.onnx (is not a whole ONNX file|carries no model card)"):
            OnnxGenerator.load(cut, provider="cpu")


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx does not exist; train a model"):
        OnnxGenerator.load(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        OnnxGenerator.load(tmp_path)


def _without_card(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def _with_half_precision(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.node[0].input[0] = "z32"
    model.graph.node.insert(0, helper.make_node("Cast", ["z"], ["z32"], to=TensorProto.FLOAT))


def _with_a_fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def _with_one_image_a_run(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([True]), "first_only"))
    model.graph.node[-1].input[0] = "one"
    first = helper.make_node("Compress", ["bytes", "first_only"], ["one"], axis=0)
    model.graph.node.insert(len(model.graph.node) - 1, first)


def _with_two_images_a_latent(model: onnx.ModelProto) -> None:
    model.graph.node[-1].input[0] = "twice"
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Concat", ["bytes"] * 2, ["twice"], axis=0))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_without_card, "carries no model card"),
        (lambda model: with_card(model, tiny_card(latent_dim=9, mean_latent=(0.0,) * 9)), "input z has the shape"),
        (lambda model: with_card(model, tiny_card(resolution=16)), "output images has the shape"),
        (lambda model: with_card(model, tiny_card(channels=1)), "output images has the shape"),
        (lambda model: with_card(model, tiny_card(classes=())), "the inputs are label, z and its card"),
        (_with_half_precision, r"input z is a tensor\(float16\) and must be a tensor\(float\)"),
        (_with_a_fixed_batch, "input z has the shape .* without a free batch size"),
        (_with_two_images_a_latent, r"output images has the shape \[2, 8, 8, 3\] for a batch of 1"),
    ],
)
def test_a_model_file_that_contradicts_its_card_is_refused(
    tmp_path: Path, damage: Callable[[onnx.ModelProto], object], sentence: str
) -> None:
    model = tiny_model()
    damage(model)
    with pytest.raises(ModelError, match=sentence):
        OnnxGenerator.load(save(model, tmp_path / "odd.onnx"), provider="cpu")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_model_file_that_generates_one_image_a_run_is_refused(tmp_path: Path, threads: int) -> None:
    model = tiny_model()
    _with_one_image_a_run(model)
    with pytest.raises(ModelError, match=r"output images has the shape \[[12], 8, 8, 3\] for a batch of [24]"):
        OnnxGenerator.load(save(model, tmp_path / "alone.onnx"), provider="cpu", threads=threads)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 40, MAX_BATCH])
def test_images_and_their_order_do_not_depend_on_the_number_of_cores(
    generator: OnnxGenerator, model_path: Path, count: int
) -> None:
    one_by_one = np.concatenate([generator.generate([seed])[0] for seed in range(count)])
    for threads in (1, 2, 3):
        images, _ = OnnxGenerator.load(model_path, "cpu", threads).generate(list(range(count)))
        assert images.shape == one_by_one.shape
        assert np.abs(images.astype(int) - one_by_one).max() <= 1


def test_an_error_on_another_core_fails_the_run(tmp_path: Path) -> None:
    generator = OnnxGenerator.load(save(tiny_model(brittle=True), tmp_path / "brittle.onnx"), "cpu", threads=3)
    latents, labels = generator.latent_space.sample(list(range(MAX_BATCH)))
    for row in (0, MAX_BATCH - 1):
        broken = latents.copy()
        broken[row, 0] = 100
        with pytest.raises(Exception, match="out of data bounds"):
            generator.session.run(ArrayInputs(broken, labels))
    assert len(generator.session.run(ArrayInputs(latents, labels)).images) == MAX_BATCH


class Interrupted(ArrayInputs):
    """Inputs whose last rows raise an error."""

    def arrays(self, rows: slice) -> ArrayInputs:
        if rows.stop == len(self):
            raise OSError("no inputs")
        return super().arrays(rows)


def test_an_error_in_the_inputs_fails_the_run_and_leaves_the_cores_free(model_path: Path) -> None:
    generator = OnnxGenerator.load(model_path, "cpu", threads=3)
    inputs = generator.latent_space.sample(list(range(MAX_BATCH)))
    with pytest.raises(OSError, match="no inputs"):
        generator.session.run(Interrupted(*inputs))
    assert len(generator.session.run(ArrayInputs(*inputs)).images) == MAX_BATCH


def test_the_model_id_is_the_start_of_the_files_hash_and_changes_with_the_weights(
    generator: OnnxGenerator, tmp_path: Path
) -> None:
    other = OnnxGenerator.load(save(tiny_model(weights=1), tmp_path / "other.onnx"), provider="cpu")
    assert generator.sha256.startswith(generator.model_id)
    assert len(generator.model_id) == 16
    assert other.model_id != generator.model_id


@pytest.mark.skipif(cuda_devices() > 0, reason="this machine has a GPU")
def test_without_a_gpu_auto_uses_the_cpu_and_cuda_is_refused(
    model_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert OnnxGenerator.load(model_path, provider="auto").provider == "cpu"
    with pytest.raises(ModelError, match="no GPU can be used here; set it to auto or cpu"):
        OnnxGenerator.load(model_path, provider="cuda")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(cuda_devices() == 0, reason="needs a GPU")
def test_on_a_gpu_the_pixels_agree_with_the_cpu(generator: OnnxGenerator, model_path: Path) -> None:
    on_gpu = OnnxGenerator.load(model_path, provider="cuda")
    assert on_gpu.provider == "cuda"
    assert np.abs(on_gpu.generate([1, 2, 3])[0].astype(int) - generator.generate([1, 2, 3])[0]).max() <= 1
