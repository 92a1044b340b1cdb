"""The models that are served: every .onnx file of one folder under its own name, looked at again every second.

A file that is replaced is loaded and warmed beside the old one, and then takes its place; requests that have begun end
on the model they began with. A file that cannot be served changes nothing but what `GET /models` says.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from prometheus_client import Counter

from serving.errors import MintError, ModelError
from serving.generator import MAX_BATCH, Generator
from serving.session import Provider

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
WARM_BATCHES = tuple(2**power for power in range(MAX_BATCH.bit_length()))  # the first run of a size sets up its memory

SWAPS = Counter("mint_model_swaps", "Model files taken up or refused after the start", ("model", "outcome"))

Stamp = tuple[int, int, int]  # of a file: inode, size, time of change in nanoseconds


class NotReady(MintError):
    """The model is still loading, or could not be loaded, or the server is about to stop."""


class ModelNotFound(MintError):
    """A model that is not served here."""


@dataclass(frozen=True)
class Served:
    """What stands behind a name: a generator, a problem with the file that is there now, or both."""

    generator: Generator | None
    problem: str | None
    stamp: Stamp | None  # of the file that was last looked into


class Models:
    """The generators by name. Files are opened in a thread; everything else belongs to the event loop."""

    def __init__(self, default: Path, provider: Provider, threads: int) -> None:
        """default: the file that is served where no model is named; its folder holds the others."""
        self.folder = default.parent
        self.default = default.stem
        self._default_path = default
        self._provider = provider
        self._threads = threads
        self._served: dict[str, Served] = {}
        self._seen: dict[str, Stamp] = {}  # stamps of the look before, by name

    def get(self, name: str | None = None) -> Generator:
        """The generator of this name or model id, or the default one.

        Raises NotReady while there is no default one, ModelNotFound that lists the models for any other name.
        """
        if name is None or name == self.default:
            served = self._served.get(self.default)
            if served is None:
                raise NotReady("the model is still loading; try again in a moment")
            if served.generator is None:
                raise NotReady(served.problem or "the model could not be loaded")
            return served.generator
        for known, generator in self.ready():
            if name in (known, generator.model_id):
                return generator
        raise ModelNotFound(f'there is no model "{name[:40]}" here; {self._hint(name)}')

    def ready(self) -> Iterator[tuple[str, Generator]]:
        """Names and generators of all models that can be asked for, the default first."""
        for name in sorted(self._served, key=lambda name: (name != self.default, name)):
            generator = self._served[name].generator
            if generator is not None:
                yield name, generator

    def problems(self) -> dict[str, str]:
        """What is wrong with files that are there, by name."""
        return {name: served.problem for name, served in sorted(self._served.items()) if served.problem}

    async def load_default(self) -> None:
        """Takes up the default model; raises ModelError where it cannot be served."""
        stamp = _stamp(self._default_path)
        generator = await asyncio.to_thread(self._open, self._default_path)
        self._served[self.default] = Served(generator, None, stamp)
        _announce(self._default_path, generator)

    async def load(self) -> None:
        """Takes up the default model first, so that the service is ready, then the others."""
        for path in self._files():
            if path.stem not in self._served:
                await self._take_up(path)

    async def watch(self) -> None:
        """Looks at the folder for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Takes up what is new or changed and has been at rest since the look before; drops what is gone."""
        files = {path.stem: path for path in self._files()}
        stamps = {name: _stamp(path) for name, path in files.items()}
        for name, path in files.items():
            stamp = stamps[name]
            served = self._served.get(name)
            if stamp and stamp == self._seen.get(name) and (served is None or served.stamp != stamp):
                await self._take_up(path)
                SWAPS.labels(name, "refused" if self._served[name].problem else "served").inc()
        for name in self._served.keys() - files.keys() - {self.default}:
            del self._served[name]
            logger.info("model %s is gone", name)
        self._seen = {name: stamp for name, stamp in stamps.items() if stamp}

    def _files(self) -> list[Path]:
        """The model files, the default one first and whether it is there or not."""
        others = sorted(
            path for path in self.folder.glob("*.onnx") if path.stem != self.default and path.name[0] != "."
        )
        return [self._default_path, *others]

    async def _take_up(self, path: Path) -> None:
        """Loads a file beside the one that is served, and puts it in its place if it is sound."""
        name = path.stem
        before = self._served.get(name)
        stamp = _stamp(path)
        try:
            generator = await asyncio.to_thread(self._open, path)
        except Exception as error:
            expected = isinstance(error, ModelError)
            problem = str(error) if expected else f"{path} could not be loaded; the server's log says why"
            kept = before.generator if before else None
            self._served[name] = Served(kept, problem, stamp)
            logger.error("not served: %s%s", error, "; the old one stays" if kept else "", exc_info=not expected)
        else:
            self._served[name] = Served(generator, None, stamp)
            _announce(path, generator)

    def _open(self, path: Path) -> Generator:
        generator = Generator.load(path, self._provider, self._threads)
        generator.warm_up(WARM_BATCHES)
        return generator

    def _hint(self, name: str) -> str:
        names = [known for known, _ in self.ready()]
        nearest = get_close_matches(name, names, n=1)
        return f'did you mean "{nearest[0]}"?' if nearest else f"the models are {', '.join(names) or 'still loading'}"


def _announce(path: Path, generator: Generator) -> None:
    card = generator.card
    logger.info(
        "serving %s (%s, %s) on %s as model %s", path, card.name, card.shape, generator.provider, generator.model_id
    )


def _stamp(path: Path) -> Stamp | None:
    """What changes when the file does; None when there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
