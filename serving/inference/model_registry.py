"""The models that are served: every .onnx file of one folder under its own name, looked at again every second.

A file that is replaced is loaded and warmed beside the old one, and then takes its place; requests that have begun end
on the model they began with. A file that cannot be served changes nothing but what `GET /models` says.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from prometheus_client import Counter

from serving.errors import MintError, ModelError, ModelUnreadableError
from serving.inference.deadlines import DeadlineThread
from serving.inference.generator import MAX_BATCH, OnnxGenerator, read_file
from serving.inference.isolated_load import try_model
from serving.inference.model_files import FileStat, ModelFile, file_stat, list_models, printable
from serving.inference.ort_session import Provider
from serving.inference.supervision import Faults, brief

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LIST_S = 10.0  # to list the folder
READ_S = 30.0  # to read a file
LOAD_S = 300.0  # to try, load and warm it
TRIALS = 2  # files that are tried at a time: each takes a core
WARM_BATCHES = tuple(2**power for power in range(MAX_BATCH.bit_length()))  # the first run of a size sets up its memory

SWAPS = Counter("mint_model_swaps", "Model files taken up or refused after the start", ("model", "outcome"))


class NotReadyError(MintError):
    """The model is still loading, or could not be loaded, or the server is about to stop."""


class ModelNotFoundError(MintError):
    """A model that is not served here."""


@dataclass(frozen=True)
class ModelEntry:
    """What stands behind a name: a generator, a problem with the file that is there now, or both."""

    generator: OnnxGenerator | None
    problem: str | None
    stamp: FileStat | None  # of the file that was last looked into; None where it is to be tried again


class ModelRegistry:
    """The generators by name. Files are listed and opened in threads; everything else belongs to the event loop."""

    def __init__(
        self,
        default: Path,
        provider: Provider,
        threads: int,
        trial: Callable[[bytes, Path], None] = try_model,
    ) -> None:
        """default: the file that is served where no model is named; its folder holds the others.

        trial: raises ModelError for content that must not be opened in this process.
        """
        self.folder = default.parent
        self.default = default.stem
        self.trouble: str | None = None  # why the folder is not followed at the moment
        self._default_path = default
        self._provider = provider
        self._threads = threads
        self._trial = trial
        self._served: dict[str, ModelEntry] = {}
        self._seen: dict[str, FileStat] = {}  # stamps of the look before, by name
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._threads_of: dict[str, DeadlineThread] = {}  # by name, so that a file that hangs holds up no other
        self._lister = DeadlineThread("mint-model-folder")
        self._trials = asyncio.Semaphore(TRIALS)
        self._faults = Faults("model folder")

    def get(self, name: str | None = None) -> OnnxGenerator:
        """The generator of this name or model id, or the default one.

        Raises NotReadyError while there is no default one, ModelNotFoundError that lists the models for any other name.
        """
        if name is None or name == self.default:
            served = self._served.get(self.default)
            if served is None:
                raise NotReadyError("the model is still loading; try again in a moment")
            if served.generator is None:
                raise NotReadyError(served.problem or "the model could not be loaded")
            return served.generator
        for known, generator in self.ready():
            if name in (known, generator.model_id):
                return generator
        raise ModelNotFoundError(f'there is no model "{name[:40]}" here; {self._hint(name)}')

    def ready(self) -> Iterator[tuple[str, OnnxGenerator]]:
        """Names and generators of all models that can be asked for, the default first; any thread may ask."""
        for name, served in sorted(self._served.items(), key=lambda item: (item[0] != self.default, item[0])):
            if served.generator is not None:
                yield name, served.generator

    def problems(self) -> dict[str, str]:
        """What is wrong with files that are there, by name."""
        return {name: served.problem for name, served in sorted(self._served.items()) if served.problem}

    async def load_default(self) -> None:
        """Takes up the default model; raises ModelError where it cannot be served."""
        path = self._default_path
        if not path.name.isprintable():
            raise ModelError(f"the name of {printable(str(path))} is not printable UTF-8; rename the file")
        stamp = _stamp(path)
        generator = await self._open(self.default, path, tried=True)
        self._served[self.default] = ModelEntry(generator, None, stamp)
        _announce(path, generator)

    async def start(self) -> None:
        """Takes up the default model, so that the service is ready, and begins with the others."""
        if self.default not in self._served:
            await self._take_up(
                ModelFile(self.default, self._default_path, _stamp(self._default_path) or ()), first=True
            )
        try:
            for file in await self._list():
                if file.name not in self._served:
                    self._begin(file, counted=False)
        except Exception as error:
            self._cannot_follow(error)

    async def load(self) -> None:
        """Takes up all models that are there."""
        await self.start()
        await self.settle()

    async def settle(self) -> None:
        """Returns when no file is being loaded."""
        while self._loading:
            await asyncio.wait(list(self._loading.values()))

    async def watch(self) -> None:
        """Looks at the folder for ever, whatever becomes of a look."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except Exception as error:
                self._cannot_follow(error)

    async def look(self) -> None:
        """Begins to take up what is new or changed and has been at rest since the look before; drops what is gone.

        Raises OSError when the folder cannot be listed: TimeoutError when it does not answer.
        """
        files = {file.name: file for file in await self._list()}
        for name, file in files.items():
            served = self._served.get(name)
            if file.stamp == self._seen.get(name) and (served is None or served.stamp != file.stamp):
                self._begin(file)
        for name in self._served.keys() - files.keys() - {self.default}:
            del self._served[name]
            logger.info("model %s is gone", name)
        for name in self._threads_of.keys() - files.keys() - self._loading.keys() - {self.default}:
            del self._threads_of[name]
        self._seen = {name: file.stamp for name, file in files.items()}
        self.trouble = None

    def _list(self) -> "asyncio.Future[list[ModelFile]]":
        return asyncio.ensure_future(self._lister.call(lambda: list_models(self._default_path), LIST_S))

    def _cannot_follow(self, error: Exception) -> None:
        """Notes that a look has failed, and counts and logs it unless it has failed so before."""
        if isinstance(error, TimeoutError):
            why = "it does not answer"
        else:
            why = error.strerror or "" if isinstance(error, OSError) else brief(error)
        trouble = f"the model folder is not followed ({why})"  # /readyz shows it to everybody
        if trouble != self.trouble:
            self._faults.report(error)
        self.trouble = trouble

    def _begin(self, file: ModelFile, counted: bool = True) -> None:
        """Loads a file in a task of its own, unless that goes on already; counted: in mint_model_swaps."""
        if file.name in self._loading:
            return
        before = self._served.get(file.name)
        task = self._loading[file.name] = asyncio.create_task(self._take_up(file))

        def end(task: "asyncio.Task[None]") -> None:
            del self._loading[file.name]
            now = self._served.get(file.name)
            if counted and now and now != before:
                SWAPS.labels(file.name, "refused" if now.problem else "served").inc()

        task.add_done_callback(end)

    async def _take_up(self, file: ModelFile, first: bool = False) -> None:
        """Loads a file beside the one that is served, and puts it in its place if it is sound."""
        before = self._served.get(file.name)
        kept = before.generator if before else None
        try:
            if file.problem:
                raise ModelError(file.problem)
            generator = await self._open(file.name, file.path, tried=first)
        except Exception as error:
            expected = isinstance(error, ModelError)
            problem = str(error) if expected else f"{file.path} could not be loaded; the server's log says why"
            stamp = None if isinstance(error, ModelUnreadableError) else file.stamp
            now = self._served[file.name] = ModelEntry(kept, problem, stamp)
            if now != before:
                logger.error("not served: %s%s", error, "; the old one stays" if kept else "", exc_info=not expected)
        else:
            self._served[file.name] = ModelEntry(generator, None, file.stamp)
            _announce(file.path, generator)

    async def _open(self, name: str, path: Path, tried: bool) -> OnnxGenerator:
        """A file, loaded and warm; tried: without a trial in a process of its own, which takes a second.

        Raises ModelError; UnreadableError for what may pass.
        """
        thread = self._threads_of.setdefault(name, DeadlineThread("mint-model-file"))
        try:
            content = await thread.call(lambda: read_file(path), READ_S)
            if not tried:
                async with nullcontext() if name == self.default else self._trials:
                    await thread.call(lambda: self._trial(content, path), LOAD_S)
            return await thread.call(lambda: self._warm(content, path), LOAD_S)
        except TimeoutError:
            raise ModelUnreadableError(
                f"{path} could not be loaded (its disk does not answer, or it does not end)"
            ) from None
        except (OSError, MemoryError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or brief(error)
            raise ModelUnreadableError(f"{path} could not be loaded ({why}); free what the system lacks") from None

    def _warm(self, content: bytes, path: Path) -> OnnxGenerator:
        generator = OnnxGenerator.open(content, path, self._provider, self._threads)
        generator.warm_up(WARM_BATCHES)
        return generator

    def _hint(self, name: str) -> str:
        names = [known for known, _ in self.ready()]
        nearest = get_close_matches(name, names, n=1)
        return f'did you mean "{nearest[0]}"?' if nearest else f"the models are {', '.join(names) or 'still loading'}"


def _announce(path: Path, generator: OnnxGenerator) -> None:
    card = generator.card
    logger.info(
        "serving %s (%s, %s) on %s as model %s", path, card.name, card.shape, generator.provider, generator.model_id
    )


def _stamp(path: Path) -> FileStat | None:
    """What changes when the file does; None when there is no file."""
    try:
        return file_stat(path.stat())
    except OSError:
        return None
