"""Servers of the benchmark: the command that starts each and the request it is measured with."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.http_client import HOST, JSON, ONE_PNG, Request
from benchmarks.load.servers import PORT

ONE_SEED = Request("POST", "/generate", '{"seed": SEEDS}', JSON)
SEED_LIST = Request("POST", "/generate", '{"seeds": [SEEDS]}', JSON)
BY_URL = Request("GET", "/images/SEEDS.png")


@dataclass(frozen=True)
class Baseline:
    """Server under test: its arguments to `python`, and its request for the PNG of one seed."""

    name: str
    description: str
    arguments: tuple[str, ...]
    request: Request


def bento(target: str) -> tuple[str, ...]:
    """Arguments of `bentoml serve`."""
    return ("-m", "bentoml", "serve", target, "--host", HOST, "--port", PORT)


def uvicorn(target: str) -> tuple[str, ...]:
    """Arguments of one uvicorn process with its fastest event loop and parser, and no access log."""
    options = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
    return ("-m", "uvicorn", target, "--host", HOST, "--port", PORT, *options)


def local(module: str) -> str:
    """Import path of a baseline's module."""
    return f"benchmarks.baselines.{module}"


MINT = Baseline("mint", "this service", ("-m", "serving.cli", "serve", "--host", HOST, "--port", PORT), ONE_PNG)
FASTAPI = Baseline("fastapi", "FastAPI, a call a request", uvicorn(local("fastapi_plain:app")), ONE_SEED)
BENTO_TUNED = Baseline("bento tuned", "BentoML, async, no tracing or logs", bento(local("bento_tuned:Tuned")), ONE_SEED)
BENTO_BATCHED = Baseline(
    "bento batched", "the same with BentoML's batching", bento(local("bento_batched:Batched")), SEED_LIST
)
BENTO_PLAIN = Baseline("bento plain", "BentoML, default settings", bento(local("bento_plain:Plain")), ONE_SEED)
STARLETTE = Baseline("starlette bare", "constant bytes: HTTP alone", uvicorn(local("starlette_bare:app")), ONE_PNG)

BASELINES = (FASTAPI, BENTO_TUNED, BENTO_BATCHED, BENTO_PLAIN)
ALL = (MINT, *BASELINES, STARLETTE)


def environment(model: Path, threads: int) -> dict[str, str]:
    """Environment of all servers: the model file, and the number of threads of a session run."""
    return {"MINT_MODEL": str(model.resolve()), "MINT_THREADS": str(threads), "MINT_PROVIDER": "cpu"}
