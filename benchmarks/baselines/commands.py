"""Who is measured: each contestant's command and the request that all of its answers are for."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.messages import HOST, JSON, ONE_PNG, Request
from benchmarks.load.servers import PORT

ONE_SEED = Request("POST", "/generate", '{"seed": SEEDS}', JSON)
SEED_LIST = Request("POST", "/generate", '{"seeds": [SEEDS]}', JSON)
BY_URL = Request("GET", "/images/SEEDS.png")


@dataclass(frozen=True)
class Baseline:
    """A server: what `python` is given to start it, and how it is asked for the PNG of one seed."""

    name: str
    what: str
    arguments: tuple[str, ...]
    request: Request


def bento(target: str) -> tuple[str, ...]:
    """`bentoml serve`."""
    return ("-m", "bentoml", "serve", target, "--host", HOST, "--port", PORT)


def uvicorn(target: str) -> tuple[str, ...]:
    """One uvicorn process at its fastest."""
    options = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
    return ("-m", "uvicorn", target, "--host", HOST, "--port", PORT, *options)


def own(module: str) -> str:
    """The import path of a contestant's module."""
    return f"benchmarks.baselines.{module}"


MINT = Baseline("mint", "this service", ("-m", "serving.cli", "serve", "--host", HOST, "--port", PORT), ONE_PNG)
FASTAPI = Baseline("fastapi", "FastAPI, a call a request", uvicorn(own("fastapi_plain:app")), ONE_SEED)
BENTO_TUNED = Baseline("bento tuned", "BentoML, async, no tracing or logs", bento(own("bento_tuned:Tuned")), ONE_SEED)
BENTO_BATCHED = Baseline(
    "bento batched", "the same with BentoML's batching", bento(own("bento_batched:Batched")), SEED_LIST
)
BENTO_PLAIN = Baseline("bento plain", "BentoML, default settings", bento(own("bento_plain:Plain")), ONE_SEED)
STARLETTE = Baseline("starlette bare", "constant bytes: HTTP alone", uvicorn(own("starlette_bare:app")), ONE_PNG)

RIVALS = (FASTAPI, BENTO_TUNED, BENTO_BATCHED, BENTO_PLAIN)
ALL = (MINT, *RIVALS, STARLETTE)


def environment(model: Path, threads: int) -> dict[str, str]:
    """What Mint and the contestants read: the same model file, and so many threads for a run of the network."""
    return {"MINT_MODEL": str(model.resolve()), "MINT_THREADS": str(threads), "MINT_PROVIDER": "cpu"}
