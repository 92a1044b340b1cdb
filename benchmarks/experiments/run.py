"""Runs of one variant: a worker process per seed, whose results are gathered into one file.

    python -m benchmarks.experiments.run VARIANT

Networks this small do not scale to two cores, so every seed has a process with one thread. Each result is saved as soon
as its run ends, by a hash of its inputs, so an interrupted variant resumes with the missing seeds.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

import torch

from benchmarks.experiments.dataset import IMAGES, LABELS, ImageSpec, prepare
from benchmarks.experiments.results import GRIDS, RESULT, SeedResult, VariantResult, write_record
from benchmarks.experiments.settings import RESULTS, WORK, load_settings
from benchmarks.experiments.variants import Size, Variant, find
from benchmarks.experiments.worker import Job, prepare_evaluator, run_job
from serving.errors import MintError
from training.data.manifest import data_sha256
from training.stage import INTERRUPTED, run_stage
from training.stage_code import code_digest

HERE = Path(__file__).parent
# Read when numpy and torch are loaded: they take effect in the workers, which start later.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# Training parameters that differ from seed to seed, or do not affect the result.
NOT_IN_KEY = {"seed", "device", "checkpoint_kimg", "keep_checkpoints", "sheet_epochs"}


def main() -> None:
    """Run the variant named on the command line at the scale of experiments/params.yaml."""
    if len(sys.argv) != 2:
        raise MintError("name one variant: python -m benchmarks.experiments.run VARIANT")
    started = time.monotonic()
    variant, settings = find(sys.argv[1]), load_settings()
    os.environ.update(ONE_THREAD)
    workers = min(settings.seeds, len(os.sched_getaffinity(0)))
    jobs = make_jobs(variant, variant.size(settings.scale), settings.seeds, settings.rgb_source, WORK, workers)
    with start_workers(workers) as pool:
        trained = run_variant(jobs, settings.scale, RESULTS / variant.name, pool)
        for worker in active_children():  # results are on disk, and a clean exit takes torch seconds
            worker.terminate()
    reused = f", {settings.seeds - trained} reused" if trained < settings.seeds else ""
    print(f"{variant.name}: {trained} runs in {time.monotonic() - started:.0f} s{reused}; {RESULTS / variant.name}")


def make_jobs(variant: Variant, size: Size, seeds: int, rgb_source: str | None, work: Path, workers: int) -> list[Job]:
    """A job for every seed, with folders in `work`, where the images are prepared."""
    data = variant.params(size, 0).data
    spec = ImageSpec(data.resolution.height, data.channels, rgb_source if data.channels == 3 else None, size.pool)
    images = spec.folder(work / "images")
    prepare(spec, images)
    saved = work / "runs" / cache_key(variant, size, data_sha256(images / IMAGES, images / LABELS))
    return [Job(variant, size, seed, spec, images, saved / f"seed-{seed}.json", workers) for seed in range(seeds)]


def cache_key(variant: Variant, size: Size, images_sha256: str) -> str:
    """Hash of all inputs of a run but its seed: parameters, size, images and code.

    The variant's name is not among them, so variants with the same inputs share their runs.
    """
    params = variant.params(size, 0)
    inputs = {
        "images": images_sha256,
        "size": asdict(size),
        "times_source": variant.times_source,
        "network": params.network.model_dump(),
        "objective": params.objective.model_dump(),
        "stabilise": params.stabilise.model_dump(),
        "train": params.train.model_dump(exclude=NOT_IN_KEY),
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    digest.update(code_digest("train", "evaluate").encode())
    for name in ("evaluator.py", "dataset.py", "worker.py"):
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:16]


def start_workers(count: int) -> ProcessPoolExecutor:
    """Pool of processes with one thread each; they start with the first job."""
    return ProcessPoolExecutor(count, get_context("spawn"), initializer=_initialise_worker)


def run_variant(jobs: list[Job], scale: str, folder: Path, pool: Executor) -> int:
    """Run the jobs that have no result yet and gather all results in `folder`. Returns how many were run."""
    missing = [job for job in jobs if not job.result.exists()]
    try:
        if missing:
            pool.submit(prepare_evaluator, missing[0]).result()
        for done in as_completed([pool.submit(run_job, job) for job in missing]):
            print(_progress_line(jobs[0].variant.name, done.result()), flush=True)
    except BrokenProcessPool:
        raise MintError("a run was killed, perhaps for lack of memory; run the same command to resume") from None
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    gather(jobs, scale, folder)
    return len(missing)


def gather(jobs: list[Job], scale: str, folder: Path) -> None:
    """Write the results of all seeds as one record, and the sample grids of seed 0 beside it."""
    first, size = jobs[0], jobs[0].size
    seeds = tuple(SeedResult.model_validate_json(job.result.read_bytes()) for job in jobs)
    params = first.variant.params(size, 0)
    shutil.rmtree(folder, ignore_errors=True)
    grids = sorted((first.result.parent / GRIDS).glob("epoch-*.png"))
    for grid in grids:
        (folder / GRIDS).mkdir(parents=True, exist_ok=True)
        shutil.copy(grid, folder / GRIDS)
    record = VariantResult(
        name=first.variant.name,
        scale=scale,
        preset=first.variant.preset,
        data=first.spec.description,
        images=seeds[0].images,
        epochs=size.epochs,
        batch=params.train.batch,
        resolution=params.data.resolution.height,
        channels=params.data.channels,
        network=params.network.name,
        generator_width=params.network.generator_width,
        discriminator_width=params.network.discriminator_width,
        rate_factor=size.rate_factor,
        evaluated=size.evaluated,
        grid_epochs=tuple(int(grid.stem.removeprefix("epoch-")) for grid in grids),
        seeds=seeds,
    )
    write_record(record, folder / RESULT)


def _initialise_worker() -> None:
    """Limit the worker to one thread, and have it exit silently on Ctrl-C or when its parent ends."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit once the parent has: the workers of a killed parent would go on writing."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(INTERRUPTED)


def _progress_line(name: str, result: SeedResult) -> str:
    if result.diverged_at is not None:
        return f"{name} seed {result.seed}: diverged in epoch {result.diverged_at:.0f}"
    figures = "  ".join(f"{metric} {value:.3f}" for metric, value in result.metrics.items())
    return f"{name} seed {result.seed}: {figures}  {result.seconds:.0f} s"


if __name__ == "__main__":
    run_stage(main)
