"""Model registry: the .onnx files of one folder by name, each reloaded when its new stat is unchanged over two polls.

A changed file is loaded and warmed up beside the old model, and then replaces it; requests in progress finish on the
model they began with. A file that cannot be served changes nothing but the listing of `GET /models`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Counter

from serving.error_messages import did_you_mean
from serving.errors import MintError, ModelError, ModelUnreadableError
from serving.inference.deadlines import DeadlineThread
from serving.inference.generator import MAX_BATCH, OnnxGenerator
from serving.inference.isolated_load import check_in_subprocess
from serving.inference.model_files import FileStat, ModelFile, file_stat, list_models, printable, read_model
from serving.inference.ort_session import Provider
from serving.inference.supervision import FaultReporter, one_line

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 1.0
LIST_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
LOAD_TIMEOUT_S = 300.0  # to check, load and warm up a file
MAX_CHECKS = 2  # files that are checked at a time: each takes a core
# The first run of a size allocates its memory.
WARM_BATCHES = tuple(2**power for power in range(MAX_BATCH.bit_length()))

SWAPS = Counter("mint_model_swaps", "Model files loaded or refused after the start", ("model", "outcome"))


class NotReadyError(MintError):
    """The model is still loading, or could not be loaded, or the server is about to stop."""

    status = 503
    headers = (("Retry-After", "1"),)


class ModelNotFoundError(MintError):
    """No model of that name or id is served here."""

    status = 404
    loc = ("model",)


@dataclass(frozen=True)
class ModelEntry:
    """The generator of a name, a problem with its current file, or both."""

    generator: OnnxGenerator | None
    problem: str | None
    stat: FileStat | None  # of the file that was last opened; None to try it again


class ModelRegistry:
    """Generators by name. Threads list and open files; everything else runs on the event loop."""

    def __init__(
        self,
        default: Path,
        provider: Provider,
        threads: int,
        check: Callable[[bytes, Path], None] = check_in_subprocess,
    ) -> None:
        """default: the file of the model that requests get by default; its folder holds the others.

        check: raises ModelError for content that must not be opened in this process.
        """
        self.folder = default.parent
        self.default = default.stem
        self.poll_problem: str | None = None  # why the last poll of the folder failed
        self._default_path = default
        self._provider = provider
        self._threads = threads
        self._check = check
        self._entries: dict[str, ModelEntry] = {}
        self._last_stats: dict[str, FileStat] = {}  # of the previous poll, by name
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._load_threads: dict[str, DeadlineThread] = {}  # by name, so that a file that hangs delays no other
        self._list_thread = DeadlineThread("mint-model-folder")
        self._checks = asyncio.Semaphore(MAX_CHECKS)
        self._faults = FaultReporter("model folder")

    def get(self, name: str | None = None) -> OnnxGenerator:
        """The generator of this name or model id, or the default one.

        Raises NotReadyError while there is no default model, ModelNotFoundError that lists the models for other names.
        """
        if name is None or name == self.default:
            entry = self._entries.get(self.default)
            if entry is None:
                raise NotReadyError("the model is still loading; try again in a moment")
            if entry.generator is None:
                raise NotReadyError(entry.problem or "the model could not be loaded")
            return entry.generator
        for known, generator in self.ready():
            if name in (known, generator.model_id):
                return generator
        raise ModelNotFoundError(f'there is no model "{name[:40]}" here; {self._hint(name)}')

    def max_latent_dim(self) -> int:
        """The largest latent size of all models; raises NotReadyError while there is no default model."""
        self.get()
        return max(generator.card.latent_dim for _, generator in self.ready())

    def ready(self) -> Iterator[tuple[str, OnnxGenerator]]:
        """Names and generators of all models that are loaded, the default first; any thread may call it."""
        for name, entry in sorted(self._entries.items(), key=lambda item: (item[0] != self.default, item[0])):
            if entry.generator is not None:
                yield name, entry.generator

    def problems(self) -> dict[str, str]:
        """A sentence for each file that cannot be served, by name."""
        return {name: entry.problem for name, entry in sorted(self._entries.items()) if entry.problem}

    async def load_default(self) -> None:
        """Load the default model; raises ModelError if it cannot be served."""
        path = self._default_path
        if not path.name.isprintable():
            raise ModelError(f"the name of {printable(str(path))} is not printable UTF-8; rename the file")
        stat = _stat(path)
        generator = await self._open(self.default, path, checked=True)
        self._entries[self.default] = ModelEntry(generator, None, stat)
        _log_served(path, generator)

    async def start(self) -> None:
        """Load the default model, so that the service is ready, and start to load the others."""
        if self.default not in self._entries:
            file = ModelFile(self.default, self._default_path, _stat(self._default_path) or ())
            await self._load(file, checked=True)
        try:
            for file in await self._list():
                if file.name not in self._entries:
                    self._start_loading(file, counted=False)
        except Exception as error:
            self._report_poll_failure(error)

    async def load(self) -> None:
        """Load all models of the folder."""
        await self.start()
        await self.wait_until_loaded()

    async def wait_until_loaded(self) -> None:
        """Return when no file is being loaded."""
        while self._loading:
            await asyncio.wait(list(self._loading.values()))

    async def watch(self) -> None:
        """Poll the folder for ever, even if a poll fails."""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            try:
                await self.poll()
            except Exception as error:
                self._report_poll_failure(error)

    async def poll(self) -> None:
        """Start to load files that are new or changed and unchanged since the previous poll; drop those deleted.

        Raises OSError when the folder cannot be listed: TimeoutError when it does not answer.
        """
        files = {file.name: file for file in await self._list()}
        for name, file in files.items():
            entry = self._entries.get(name)
            if file.stat == self._last_stats.get(name) and (entry is None or entry.stat != file.stat):
                self._start_loading(file)
        for name in self._entries.keys() - files.keys() - {self.default}:
            del self._entries[name]
            logger.info("model %s is gone", name)
        for name in self._load_threads.keys() - files.keys() - self._loading.keys() - {self.default}:
            del self._load_threads[name]
        self._last_stats = {name: file.stat for name, file in files.items()}
        self.poll_problem = None

    def _list(self) -> "asyncio.Future[list[ModelFile]]":
        return asyncio.ensure_future(self._list_thread.call(lambda: list_models(self._default_path), LIST_TIMEOUT_S))

    def _report_poll_failure(self, error: Exception) -> None:
        """Record that a poll has failed; count and log it unless the previous one failed in the same way."""
        if isinstance(error, TimeoutError):
            reason = "it does not answer"
        else:
            reason = error.strerror or "" if isinstance(error, OSError) else one_line(error)
        problem = f"the model folder is not followed ({reason})"  # /readyz shows it to everybody
        if problem != self.poll_problem:
            self._faults.report(error)
        self.poll_problem = problem

    def _start_loading(self, file: ModelFile, counted: bool = True) -> None:
        """Start a task that loads a file, unless one is running; counted: in mint_model_swaps."""
        if file.name in self._loading:
            return
        before = self._entries.get(file.name)
        task = self._loading[file.name] = asyncio.create_task(self._load(file))

        def end(task: "asyncio.Task[None]") -> None:
            del self._loading[file.name]
            now = self._entries.get(file.name)
            if counted and now and now != before:
                SWAPS.labels(file.name, "refused" if now.problem else "served").inc()

        task.add_done_callback(end)

    async def _load(self, file: ModelFile, checked: bool = False) -> None:
        """Load a file beside the model of its name that is served, and replace that if the file is sound."""
        before = self._entries.get(file.name)
        kept = before.generator if before else None
        try:
            if file.problem:
                raise ModelError(file.problem)
            generator = await self._open(file.name, file.path, checked)
        except Exception as error:
            expected = isinstance(error, ModelError)
            problem = str(error) if expected else f"{file.path} could not be loaded; the server's log says why"
            stat = None if isinstance(error, ModelUnreadableError) else file.stat
            now = self._entries[file.name] = ModelEntry(kept, problem, stat)
            if now != before:
                logger.error("not served: %s%s", error, "; the old one stays" if kept else "", exc_info=not expected)
        else:
            self._entries[file.name] = ModelEntry(generator, None, file.stat)
            _log_served(file.path, generator)

    async def _open(self, name: str, path: Path, checked: bool) -> OnnxGenerator:
        """Load and warm up a file; checked: skip the check in a process of its own, which takes a second.

        Raises ModelError; ModelUnreadableError for failures that may pass.
        """
        thread = self._load_threads.setdefault(name, DeadlineThread("mint-model-file"))
        try:
            content = await thread.call(lambda: read_model(path), READ_TIMEOUT_S)
            if not checked:
                async with nullcontext() if name == self.default else self._checks:
                    await thread.call(lambda: self._check(content, path), LOAD_TIMEOUT_S)
            return await thread.call(lambda: self._warm_up(content, path), LOAD_TIMEOUT_S)
        except TimeoutError:
            raise ModelUnreadableError(
                f"{path} could not be loaded (its disk does not answer, or it does not end)"
            ) from None
        except (OSError, MemoryError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
            raise ModelUnreadableError(f"{path} could not be loaded ({reason}); free what the system lacks") from None

    def _warm_up(self, content: bytes, path: Path) -> OnnxGenerator:
        generator = OnnxGenerator.open(content, path, self._provider, self._threads)
        generator.warm_up(WARM_BATCHES)
        return generator

    def _hint(self, name: str) -> str:
        names = [known for known, _ in self.ready()]
        return did_you_mean(name, names, f"the models are {', '.join(names) or 'still loading'}", quote='"{}"'.format)


def _log_served(path: Path, generator: OnnxGenerator) -> None:
    card = generator.card
    logger.info(
        "serving %s (%s, %s) on %s as model %s", path, card.name, card.shape, generator.provider, generator.model_id
    )


def _stat(path: Path) -> FileStat | None:
    """The stat of a file; None when there is no file."""
    try:
        return file_stat(path.stat())
    except OSError:
        return None
