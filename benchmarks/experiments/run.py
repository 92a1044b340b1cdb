"""One variant of the experiments: its seeds train side by side, and their results become one file.

    python -m benchmarks.experiments.run VARIANT

A network this small does not use two cores well, so every seed has a process and one thread. Each result is kept
as soon as it is there: what was interrupted goes on with the seeds that are missing.
"""

import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

import torch

from benchmarks.experiments.job import Job, jobs
from benchmarks.experiments.results import RESULT, SHEETS, SeedResult, VariantResult, write_record
from benchmarks.experiments.settings import RESULTS, WORK, load_settings
from benchmarks.experiments.variants import find
from benchmarks.experiments.worker import play, prepare
from serving.errors import MintError
from training.stage import INTERRUPTED, run_stage

# Read when numpy and torch are loaded: for the workers, which start later.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main() -> None:
    """Runs the variant named on the command line at the scale of experiments/params.yaml."""
    if len(sys.argv) != 2:
        raise MintError("name one variant: python -m benchmarks.experiments.run VARIANT")
    started = time.monotonic()
    variant, settings = find(sys.argv[1]), load_settings()
    os.environ.update(ONE_THREAD)
    workers = min(settings.seeds, len(os.sched_getaffinity(0)))
    orders = jobs(variant, variant.size(settings.scale), settings.seeds, settings.rgb_source, WORK, workers)
    with start_workers(workers) as pool:
        trained = run_variant(orders, settings.scale, RESULTS / variant.name, pool)
        for worker in active_children():  # their results are on the disk; an orderly end takes torch seconds
            worker.terminate()
    kept = f", {settings.seeds - trained} kept from before" if trained < settings.seeds else ""
    print(f"{variant.name}: {trained} runs in {time.monotonic() - started:.0f} s{kept}; {RESULTS / variant.name}")


def start_workers(count: int) -> ProcessPoolExecutor:
    """Processes of one thread each. They start with the first order."""
    return ProcessPoolExecutor(count, get_context("spawn"), initializer=_become_worker)


def run_variant(orders: list[Job], scale: str, folder: Path, pool: Executor) -> int:
    """Trains the seeds that have no result yet and gathers all in `folder`. Returns how many were trained."""
    missing = [order for order in orders if not order.result.exists()]
    try:
        if missing:
            pool.submit(prepare, missing[0]).result()
        for done in as_completed([pool.submit(play, order) for order in missing]):
            print(_line(orders[0].variant.name, done.result()), flush=True)
    except BrokenProcessPool:
        raise MintError("a run was killed, perhaps for lack of memory; run the same command to go on") from None
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    gather(orders, scale, folder)
    return len(missing)


def gather(orders: list[Job], scale: str, folder: Path) -> None:
    """Writes what the seeds left as one record, and the sheets of seed 0 beside it."""
    first, size = orders[0], orders[0].size
    seeds = tuple(SeedResult.model_validate_json(order.result.read_bytes()) for order in orders)
    params = first.variant.params(size, 0)
    shutil.rmtree(folder, ignore_errors=True)
    sheets = sorted((first.result.parent / SHEETS).glob("epoch-*.png"))
    for sheet in sheets:
        (folder / SHEETS).mkdir(parents=True, exist_ok=True)
        shutil.copy(sheet, folder / SHEETS)
    record = VariantResult(
        name=first.variant.name,
        scale=scale,
        preset=first.variant.preset,
        pictures=first.kind.words,
        images=seeds[0].images,
        epochs=size.epochs,
        batch=params.train.batch,
        resolution=params.data.resolution,
        channels=params.data.channels,
        network=params.network.name,
        generator_width=params.network.generator_width,
        discriminator_width=params.network.discriminator_width,
        rate_factor=size.rate_factor,
        evaluated=size.evaluated,
        sheet_epochs=tuple(int(sheet.stem.removeprefix("epoch-")) for sheet in sheets),
        seeds=seeds,
    )
    write_record(record, folder / RESULT)


def _become_worker() -> None:
    """One thread, and an end that comes with the parent's, or with Ctrl-C, without a word."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A killed parent would leave workers that go on writing."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(INTERRUPTED)


def _line(name: str, result: SeedResult) -> str:
    if result.exploded_at is not None:
        return f"{name} seed {result.seed}: exploded in epoch {result.exploded_at:.0f}"
    figures = "  ".join(f"{measure} {value:.3f}" for measure, value in result.measures.items())
    return f"{name} seed {result.seed}: {figures}  {result.seconds:.0f} s"


if __name__ == "__main__":
    run_stage(main)
