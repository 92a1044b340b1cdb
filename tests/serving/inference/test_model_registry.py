"""Model registry: files are added, replaced and deleted under load, and only valid ones are served."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.errors import ModelError
from serving.inference.generator import OnnxGenerator
from serving.inference.model_card import CARD_KEY
from serving.inference.model_registry import ModelNotFoundError, ModelRegistry, NotReadyError
from tests.serving.conftest import Call, assert_error, serve_model, skip_isolated_load
from tests.tiny_model import save, tiny_model

pytestmark = pytest.mark.anyio


@pytest.fixture
def default(tmp_path: Path) -> Path:
    """A folder with one model file in it."""
    return save(tiny_model(), tmp_path / "faces.onnx")


@pytest.fixture
async def models(default: Path) -> ModelRegistry:
    load_state = ModelRegistry(default, "cpu", threads=1, check=skip_isolated_load)
    await load_state.load()
    return load_state


async def poll_and_load(models: ModelRegistry) -> None:
    """Poll twice, since a changed file must be unchanged over two polls, and wait for what they load."""
    await models.poll()
    await models.poll()
    await models.wait_until_loaded()


def replace(path: Path, weights: int) -> str:
    """Another model in place of a file; returns its id."""
    fresh = save(tiny_model(weights=weights), path.with_suffix(".new"))
    model_id = OnnxGenerator.load(fresh, "cpu").model_id
    fresh.rename(path)
    return model_id


async def test_a_model_that_is_not_loaded_yet_is_not_ready(default: Path) -> None:
    with pytest.raises(NotReadyError, match="still loading"):
        ModelRegistry(default, "cpu", threads=1).get()


async def test_a_new_file_is_served_under_its_name_and_id(models: ModelRegistry, default: Path) -> None:
    model_id = replace(default.with_name("cats.onnx"), weights=1)
    await poll_and_load(models)
    assert models.get("cats").model_id == models.get(model_id).model_id == model_id
    assert [name for name, _ in models.ready()] == ["faces", "cats"]
    assert models.get().path == default


async def test_a_replaced_file_takes_over(models: ModelRegistry, default: Path) -> None:
    before = models.get()
    model_id = replace(default, weights=1)
    await poll_and_load(models)
    assert models.get().model_id == model_id != before.model_id
    assert len(before.generate([7])[0]) == 1  # requests in progress finish on the old model


async def test_an_invalid_file_is_reported_and_the_old_model_keeps_serving(
    models: ModelRegistry, default: Path
) -> None:
    before = models.get()
    default.write_bytes(default.read_bytes()[:-100])
    await poll_and_load(models)
    assert models.get() is before
    assert "is not a whole ONNX file" in models.problems()["faces"]
    model_id = replace(default, weights=1)
    await poll_and_load(models)
    assert models.get().model_id == model_id
    assert models.problems() == {}


async def test_a_file_is_not_opened_while_it_is_being_written(models: ModelRegistry, default: Path) -> None:
    whole = save(tiny_model(weights=1), default.with_suffix(".new")).read_bytes()
    for part in (1000, 2000, 3000):
        default.write_bytes(whole[:part])
        await models.poll()
    assert models.problems() == {}
    default.write_bytes(whole)
    await poll_and_load(models)
    assert models.get().sha256 != OnnxGenerator.load(save(tiny_model(), default.with_suffix(".old")), "cpu").sha256


async def test_a_deleted_file_is_served_no_more_unless_it_is_the_default(models: ModelRegistry, default: Path) -> None:
    other = default.with_name("cats.onnx")
    shutil.copy(default, other)
    await poll_and_load(models)
    other.unlink()
    default.unlink()
    await poll_and_load(models)
    with pytest.raises(ModelNotFoundError, match='there is no model "cats" here; the models are faces'):
        models.get("cats")
    assert models.get().path == default


async def test_a_misspelt_name_gets_a_suggestion(models: ModelRegistry) -> None:
    with pytest.raises(ModelNotFoundError, match='did you mean "faces"?'):
        models.get("face")


async def test_a_flipped_bit_among_the_weights_is_detected(default: Path) -> None:
    content = bytearray(default.read_bytes())
    content[content.index(tiny_model().graph.initializer[0].raw_data) + 100] ^= 1
    default.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="is damaged, as its checksum does not match"):
        OnnxGenerator.load(default, "cpu")


async def test_a_file_without_a_checksum_is_refused(default: Path) -> None:
    model = tiny_model()
    del model.metadata_props[[prop.key for prop in model.metadata_props].index("mint-checksum")]
    default.write_bytes(model.SerializeToString())
    assert CARD_KEY in [prop.key for prop in model.metadata_props]
    with pytest.raises(ModelError, match="carries no checksum; export it again"):
        OnnxGenerator.load(default, "cpu")


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    default = save(tiny_model(), tmp_path_factory.mktemp("models") / "faces.onnx")
    save(tiny_model(channels=1, classes=(), weights=5), default.with_name("grey.onnx"))
    default.with_name("torn.onnx").write_bytes(b"half a file")
    yield from serve_model(default)


def test_every_route_accepts_the_name_of_a_model(call: Call) -> None:
    grey = call("GET", "/model?model=grey").json()
    assert grey["card"]["classes"] == []
    for response in (
        call("GET", "/images/7.png?model=grey"),
        call("POST", "/generate", json={"seeds": [7], "model": "grey"}),
        call("POST", "/generate", json={"seeds": [7], "model": grey["model_id"]}),
        call("POST", "/interpolate", json={"seeds": [7, 8], "steps": 2, "model": "grey"}),
    ):
        assert (response.status_code, response.headers["x-mint-model"]) == (200, grey["model_id"])
    assert_error(call("POST", "/generate", json={"seeds": [7], "model": "gray"}), 404, 'did you mean "grey"?')


def test_the_list_of_models_has_the_default_first_and_the_problems_of_others(call: Call) -> None:
    listed = call("GET", "/models").json()["models"]
    assert [(one["name"], one["default"], one["problem"] is None) for one in listed] == [
        ("faces", True, True),
        ("grey", False, True),
        ("torn", False, False),
    ]
    assert "torn.onnx is not a whole ONNX file" in listed[2]["problem"]


async def test_replacing_a_file_fails_no_request_in_progress(models: ModelRegistry, default: Path) -> None:
    ids = set()

    async def ask() -> None:
        for _ in range(200):
            generator = models.get()
            images, _ = await asyncio.to_thread(generator.generate, [7])
            assert len(images) == 1
            ids.add(generator.model_id)

    asking = asyncio.create_task(ask())
    for weights in range(1, 4):
        replace(default, weights)
        await poll_and_load(models)
    await asking
    assert len(ids) > 1
