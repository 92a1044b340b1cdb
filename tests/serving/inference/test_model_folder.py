"""Model registry under failures: hanging disks, unreadable files, unlistable folders, odd names."""

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from prometheus_client import REGISTRY

from serving.app import create_app
from serving.errors import ModelError
from serving.http.parsing import BYTES_PER_NUMBER, max_body_bytes
from serving.http.state import AppState
from serving.inference import model_registry as models_module
from serving.inference.deadlines import DeadlineThread
from serving.inference.generator import OnnxGenerator
from serving.inference.model_registry import ModelRegistry, NotReadyError
from tests.serving.conftest import Call, call_app, load_state, skip_isolated_load
from tests.tiny_model import save, tiny_card, tiny_model, with_card

pytestmark = pytest.mark.anyio

TIMEOUT_S = 60


@pytest.fixture
def default(tmp_path: Path) -> Path:
    """A folder with one model file in it."""
    return save(tiny_model(), tmp_path / "faces.onnx")


class Gate:
    """A check that passes every file at once, except those of one name: they wait for `release`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reached = threading.Event()
        self.release = threading.Event()

    def __call__(self, content: bytes, path: Path) -> None:
        if path.stem == self.name:
            self.reached.set()
            assert self.release.wait(TIMEOUT_S)


def registry_of(default: Path, check: Callable[[bytes, Path], None] = skip_isolated_load) -> ModelRegistry:
    return ModelRegistry(default, "cpu", threads=1, check=check)


async def loaded_registry(default: Path, check: Callable[[bytes, Path], None] = skip_isolated_load) -> ModelRegistry:
    models = registry_of(default, check)
    await models.load()
    return models


async def poll_and_load(models: ModelRegistry) -> None:
    await models.poll()
    await models.poll()
    await models.wait_until_loaded()


async def wait_until(condition: Callable[[], bool], step: Callable[[], Awaitable[None]] | None = None) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            if step:
                await step()
            await asyncio.sleep(0.002)


def failing(error: OSError, times: int) -> Callable[..., Any]:
    """A decorator: the function fails so many times and then works as before."""
    left = [times]

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if left[0]:
                left[0] -= 1
                raise error
            return function(*arguments)

        return call

    return wrap


async def test_a_file_that_hangs_delays_no_other_and_is_served_once_it_loads(default: Path) -> None:
    gate = Gate("hanging")
    models = await loaded_registry(default, gate)
    for name in ("hanging", "sound"):
        shutil.copy(default, default.with_name(f"{name}.onnx"))
    await models.poll()
    await models.poll()
    await wait_until(lambda: gate.reached.is_set() and len(list(models.ready())) == 2)
    assert [name for name, _ in models.ready()] == ["faces", "sound"]
    save(tiny_model(weights=1), default)
    await wait_until(
        lambda: models.get().model_id != OnnxGenerator.load(default.with_name("sound.onnx"), "cpu").model_id,
        models.poll,
    )
    gate.release.set()
    await models.wait_until_loaded()
    assert [name for name, _ in models.ready()] == ["faces", "hanging", "sound"]


async def test_a_file_that_exceeds_its_deadline_is_reported_and_retried(
    default: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate("hanging")
    models = await loaded_registry(default, gate)
    shutil.copy(default, default.with_name("hanging.onnx"))
    with monkeypatch.context() as patch:
        patch.setattr(models_module, "LOAD_TIMEOUT_S", 0.01)
        await poll_and_load(models)
        assert "hanging.onnx could not be loaded (its disk does not answer" in models.problems()["hanging"]
        await poll_and_load(models)  # no second thread beside the one that hangs
        assert sum(thread.name == "mint-model-file" for thread in threading.enumerate()) == 1
    gate.release.set()
    await wait_until(lambda: not models.problems(), lambda: poll_and_load(models))
    assert models.get("hanging").model_id == models.get().model_id


async def test_a_fifo_or_a_folder_named_as_a_model_is_refused_at_once(default: Path) -> None:
    os.mkfifo(default.with_name("pipe.onnx"))
    default.with_name("folder.onnx").mkdir()
    default.with_name("gone.onnx").symlink_to(default.with_name("nowhere"))
    models = await loaded_registry(default)
    assert models.problems().keys() == {"pipe", "folder"}
    assert all("is not a regular file" in problem for problem in models.problems().values())
    with pytest.raises(ModelError, match="is not a regular file"):
        OnnxGenerator.load(default.with_name("pipe.onnx"), "cpu")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ENOMEM, errno.EIO])
async def test_an_unreadable_file_is_retried_at_the_next_poll(
    default: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    models = await loaded_registry(default)
    other = shutil.copy(default, default.with_name("cats.onnx"))
    real = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if Path(path) == other:
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *arguments, **options)

    refused = REGISTRY.get_sample_value("mint_model_swaps_total", {"model": "cats", "outcome": "refused"}) or 0
    with monkeypatch.context() as patch:
        patch.setattr("serving.inference.model_files.os.open", refuse)
        await poll_and_load(models)
        assert os.strerror(code) in models.problems()["cats"]
        await poll_and_load(models)
    assert (
        REGISTRY.get_sample_value("mint_model_swaps_total", {"model": "cats", "outcome": "refused"}) == refused + 1
    )  # once, however often it is tried
    await poll_and_load(models)
    assert models.problems() == {}
    assert models.get("cats").model_id == models.get().model_id


async def test_a_check_that_the_system_cannot_start_is_retried(default: Path) -> None:
    fail = [True]

    def check(content: bytes, path: Path) -> None:
        if fail[0]:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    models = await loaded_registry(default, check)
    shutil.copy(default, default.with_name("cats.onnx"))
    await poll_and_load(models)
    assert "Resource temporarily unavailable" in models.problems()["cats"]
    fail[0] = False
    await poll_and_load(models)
    assert models.problems() == {}


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES, errno.ENOENT, errno.EIO])
async def test_an_unlistable_folder_loses_no_model_and_is_polled_again(
    default: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    other = shutil.copy(default, default.with_name("cats.onnx"))
    models = await loaded_registry(default)
    monkeypatch.setattr(models_module, "POLL_INTERVAL_S", 0.001)
    faults = REGISTRY.get_sample_value("mint_faults_total", {"part": "model folder"}) or 0
    watching = asyncio.create_task(models.watch())
    with monkeypatch.context() as patch:
        scandir = failing(OSError(code, os.strerror(code)), 10**9)(os.scandir)
        patch.setattr("serving.inference.model_files.os.scandir", scandir)
        await wait_until(lambda: models.poll_problem is not None)
        assert os.strerror(code) in str(models.poll_problem)
        assert [name for name, _ in models.ready()] == ["faces", "cats"]
    assert (REGISTRY.get_sample_value("mint_faults_total", {"part": "model folder"}) or 0) == faults + 1
    await wait_until(lambda: models.poll_problem is None)
    Path(other).unlink()
    await wait_until(lambda: [name for name, _ in models.ready()] == ["faces"])
    watching.cancel()


async def test_readyz_reports_a_poll_failure_and_stays_200(default: Path) -> None:
    state = await asyncio.to_thread(load_state, default)
    state.models.poll_problem = "the model folder is not followed (Too many open files)"
    response = await asyncio.to_thread(call_app(create_app(state)), "GET", "/readyz")
    assert (response.status_code, response.text) == (
        200,
        "ready\nthe model folder is not followed (Too many open files)\n",
    )


async def test_a_replacement_of_the_same_size_and_mtime_is_noticed(default: Path) -> None:
    models = await loaded_registry(default)
    before, status = models.get().model_id, default.stat()
    for replace in (write_over, rename_over):
        replace(default, save(tiny_model(weights=len(before)), default.with_suffix(".new")).read_bytes())
        os.utime(default, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (default.stat().st_size, default.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
        await poll_and_load(models)
        assert models.get().model_id != before
        default.write_bytes(save(tiny_model(), default.with_suffix(".new")).read_bytes())
        await poll_and_load(models)
        assert models.get().model_id == before


def write_over(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def rename_over(path: Path, content: bytes) -> None:
    path.with_suffix(".part").write_bytes(content)
    path.with_suffix(".part").rename(path)


@pytest.mark.parametrize(
    ("name", "shown"), [(b"caf\xe9", "caf\\xe9"), (b"two\nlines", "two\\nlines"), ("\u202etxt".encode(), "\\u202etxt")]
)
async def test_an_unprintable_name_is_refused_and_breaks_no_route(default: Path, name: bytes, shown: str) -> None:
    with open(os.fsencode(default.parent) + b"/" + name + b".onnx", "wb") as file:  # noqa: PTH123
        file.write(default.read_bytes())
    state = await asyncio.to_thread(load_state, default)
    await poll_and_load(state.models)
    call = call_app(create_app(state))
    for path in ("/metrics", "/models", "/model", "/readyz"):
        assert (await asyncio.to_thread(call, "GET", path)).status_code == 200
    listed = (await asyncio.to_thread(call, "GET", "/models")).json()["models"][1]
    assert (listed["name"], listed["model_id"]) == (shown, None)
    assert f"{shown}.onnx is not printable UTF-8; rename the file" in listed["problem"]
    assert "\n" not in listed["problem"]


async def test_an_unprintable_default_name_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"caf\\xe9\.onnx is not printable UTF-8; rename the file"):
        await registry_of(tmp_path / os.fsdecode(b"caf\xe9.onnx")).load_default()


async def test_names_in_any_script_are_served(default: Path) -> None:
    for name in ("Gesichter für Köln", "顔", "a.b"):
        shutil.copy(default, default.with_name(f"{name}.onnx"))
    models = await loaded_registry(default)
    assert [name for name, _ in models.ready()] == ["faces", "Gesichter für Köln", "a.b", "顔"]


async def test_a_file_that_fails_its_check_is_never_opened_in_this_process(
    default: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(content: bytes, path: Path) -> None:
        raise ModelError(f"{path} makes ONNX Runtime crash (SIGSEGV); export it again")

    models = await loaded_registry(default, refuse)  # the default model is loaded without a check
    before = models.get()
    monkeypatch.setattr(OnnxGenerator, "open", lambda *arguments: pytest.fail("it was opened"))
    save(tiny_model(weights=1), default.with_name("cats.onnx"))
    save(tiny_model(weights=1), default)
    await poll_and_load(models)
    assert models.get() is before
    assert models.problems().keys() == {"cats", "faces"}
    assert all("crash (SIGSEGV)" in problem for problem in models.problems().values())


async def test_an_unreadable_default_model_is_served_once_it_can_be_read(
    default: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = registry_of(default)
    with monkeypatch.context() as patch:
        patch.setattr(
            "serving.inference.model_files.os.open", failing(OSError(errno.EMFILE, "Too many open files"), 1)(os.open)
        )
        await models.load()
        with pytest.raises(NotReadyError, match="Too many open files"):
            models.get()
    await poll_and_load(models)
    assert models.get().path == default


async def test_a_hanging_call_is_abandoned_and_the_next_refused_until_it_returns() -> None:
    thread, release = DeadlineThread("mint-test"), threading.Event()
    with pytest.raises(TimeoutError):
        await thread.call(lambda: release.wait(TIMEOUT_S), 0.01)
    with pytest.raises(TimeoutError, match="an earlier call has not returned"):
        await thread.call(lambda: True, TIMEOUT_S)
    release.set()

    async def call_again() -> bool:
        try:
            return await thread.call(lambda: True, TIMEOUT_S)
        except TimeoutError:
            return False

    async with asyncio.timeout(TIMEOUT_S):
        while not await call_again():
            await asyncio.sleep(0.002)


@pytest.fixture
def wide(default: Path) -> Iterator[tuple[AppState, Call]]:
    """A model of latents of 8 numbers, and beside it one of 4,096."""
    save(wide_model(4096), default.with_name("wide.onnx"))
    state = load_state(default, max_images=16)
    yield state, call_app(create_app(state))
    state.batcher.close()


def wide_model(latent_dim: int) -> onnx.ModelProto:
    """A tiny model that reads only the start of its latents."""
    model = tiny_model()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = latent_dim
    for name, value in (("start", [0]), ("end", [8]), ("axis", [1])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    model.graph.node[0].input[0] = "z8"
    model.graph.node.insert(0, helper.make_node("Slice", ["z", "start", "end", "axis"], ["z8"]))
    return with_card(model, tiny_card(latent_dim=latent_dim, mean_latent=(0.0,) * latent_dim))


def test_the_body_limit_allows_for_the_largest_model(wide: tuple[AppState, Call]) -> None:
    state, call = wide
    assert max_body_bytes(16, state.models.max_latent_dim()) >= 16 * 4096 * BYTES_PER_NUMBER
    row = [0.123456789012345678] * 4096
    body = {"latents": [row] * 16, "labels": 0, "model": "wide", "format": "npy"}
    assert len(str(body)) > max_body_bytes(16, 8)
    assert call("POST", "/generate", json=body).status_code == 200
