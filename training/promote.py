"""Stage 5: promotion of the candidate to the served model, unless it is constant, collapsed or worse than that one.

    python -m training.promote

A refusal is a result, not an error: the run succeeded, its candidate is kept, and the served model stays. By hand:

    python -m training.promote RUN         serves any model: candidate, a model id, an experiment or an .onnx file
    python -m training.promote --rollback  serves the model before the served one again
"""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from serving.errors import MintError
from serving.files import atomic_write
from serving.inference.generator import OnnxGenerator
from training import paths
from training.candidate_checks import Metrics, fall_behind, find_defect, shortcomings
from training.lock import exclusive_lock
from training.model_versions import (
    CANDIDATE,
    SERVED,
    ModelVersion,
    archived,
    current_history,
    promote,
    roll_back,
)
from training.param_sections import PromoteParams
from training.params import load_params
from training.stage import run_stage

MIN_PREFIX = 4  # digits of an id that suffice


def main() -> None:
    """Promote the candidate or say why not."""
    params = load_params().promote
    with exclusive_lock(paths.PROMOTE_LOCK, f"replacing {paths.MODEL}"):
        sentence = judge_candidate(params)
    print(sentence)
    with atomic_write(paths.DECISION) as path:
        path.write_text(sentence + "\n")


def command_line() -> None:
    """Do what the arguments say; without any, run the stage."""
    parser = argparse.ArgumentParser(prog="python -m training.promote", description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?", help="serve this model: candidate, a model id, an experiment, an .onnx file")
    parser.add_argument("--rollback", action="store_true", help="serve the model before the served one again")
    options = parser.parse_args()
    if options.run is None and not options.rollback:
        main()
        return
    with exclusive_lock(paths.PROMOTE_LOCK, f"replacing {paths.MODEL}"):
        print(rollback() if options.rollback else promote_by_hand(options.run))


def judge_candidate(params: PromoteParams) -> str:
    """Serve the candidate if it is sound and not worse than the served model. Returns the sentence that says which.

    Raises MintError for a candidate that is missing, damaged or not evaluated.
    """
    generator, metrics = load_candidate()
    candidate = generator.model_id
    history = current_history()
    served = history.served[-1] if SERVED.model.exists() else None
    if candidate == served:
        promote(CANDIDATE, history, by_hand=False)  # its metrics may be new
        return f"{candidate} is served already; {paths.METRICS} is up to date{weakness(metrics)}"
    if candidate == history.overruled and served is not None:
        return (
            f"{served} stays in service as you chose while {candidate} was the candidate already; "
            f"to serve that one: make promote RUN={candidate}"
        )
    reason = find_defect(generator, metrics, params)
    if reason is None and served is not None:
        reason = behind_served(generator, metrics, params.tolerance)
    if reason is not None:
        stays = f"{served} stays in service" if served else "No model is in service"
        return (
            f"NOT PROMOTED: {candidate} is not served, because {reason}. {stays}; see {paths.CANDIDATE_GRID}, "
            f"and to serve it anyway: make promote RUN={candidate}"
        )
    promote(CANDIDATE, history, by_hand=False)
    return promotion(candidate, served, metrics)


def load_candidate() -> tuple[OnnxGenerator, Metrics]:
    """The generator and the metrics of the candidate. Raises MintError when it is missing, damaged or not evaluated."""
    if not CANDIDATE.model.exists():
        raise MintError(f"{CANDIDATE.model} does not exist; run dvc repro to train and export a model")
    generator = OnnxGenerator.load(CANDIDATE.model, provider="cpu")
    metrics = CANDIDATE.read_metrics()
    if metrics is None:
        raise MintError(f"{CANDIDATE.metrics} is not of {CANDIDATE.model}; run dvc repro evaluate")
    return generator, metrics


def behind_served(candidate: OnnxGenerator, metrics: Metrics, tolerance: float) -> str | None:
    """The reason for a candidate worse than the served model; None when they cannot be compared."""
    served_metrics = SERVED.read_metrics()
    served = OnnxGenerator.load(SERVED.model, provider="cpu")
    if served_metrics is None or candidate.card.data_sha256 != served.card.data_sha256:
        return None
    return fall_behind(metrics, served_metrics, tolerance)


def promotion(model_id: str, before: str | None, metrics: Metrics | None) -> str:
    """The sentence about a model that came into service."""
    back = f"; to go back to {before}: make rollback" if before else ""
    return f"promoted: {paths.MODEL} is now {model_id}{kid_of(metrics)}{back}{weakness(metrics)}"


def kid_of(metrics: Metrics | None) -> str:
    """KID in brackets; nothing where it was not measured."""
    return f" (KID {metrics['kid']:.4f})" if metrics and "kid" in metrics else ""


def weakness(metrics: Metrics | None) -> str:
    """A sentence about a model that is poor; nothing about a good one."""
    poor = shortcomings(metrics or {})
    return f". It is still poor ({poor}): train it longer, or with another preset" if poor else ""


def promote_by_hand(run: str) -> str:
    """Serve a model that the user names, whatever its metrics. Raises MintError for one that cannot be served."""
    with find_version(run) as version:
        model_id = OnnxGenerator.load(version.model, provider="cpu").model_id
        metrics = version.read_metrics()
        history = current_history()
        served = history.served[-1] if SERVED.model.exists() else None
        promote(version, history, by_hand=True)
    if model_id == served:
        return f"{model_id} is served already"
    return promotion(model_id, served, metrics)


def rollback() -> str:
    """Serve the model before the served one again. Raises MintError when there is none."""
    before, now = roll_back(current_history())
    return f"rolled back: {paths.MODEL} is {before} again; to go forward to {now}: make promote RUN={now}"


@contextmanager
def find_version(run: str) -> Iterator[ModelVersion]:
    """The version that RUN names: `candidate`, an .onnx file, a model id or its start, an experiment or git revision.

    Raises MintError when it names none.
    """
    path = paths.expand_user_path(run)
    if run == "candidate":
        yield CANDIDATE
    elif path.suffix == ".onnx" and path.exists() and SERVED.model.exists() and path.samefile(SERVED.model):
        yield SERVED
    elif path.suffix == ".onnx":
        yield ModelVersion.in_folder(path.parent, path.name)
    elif (version := version_of_id(run)) is not None:
        yield version
    else:
        with TemporaryDirectory() as folder:
            yield candidate_of_revision(run, Path(folder))


def version_of_id(start: str) -> ModelVersion | None:
    """The candidate or the version in the history whose id begins so; None if there is none, or more than one."""
    versions = {model_id: archived(model_id) for model_id in current_history().known}
    if CANDIDATE.model.exists():
        versions[CANDIDATE.model_id] = CANDIDATE
    found = [version for model_id, version in versions.items() if model_id.startswith(start.lower())]
    return found[0] if len(found) == 1 and len(start) >= MIN_PREFIX else None


def candidate_of_revision(revision: str, folder: Path) -> ModelVersion:
    """The candidate of an experiment or git revision, copied from DVC's cache into a folder.

    Raises MintError when there is no such revision, or no candidate in it, or its file is not in the cache.
    """
    import dvc.api  # deferred: takes a second, which the pipeline's stage need not wait for
    from dvc.exceptions import DvcException

    version = ModelVersion.in_folder(folder)
    for source, target in zip(CANDIDATE.files, version.files, strict=True):
        try:
            with dvc.api.open(str(source), rev=revision, mode="rb") as tracked, target.open("wb") as copy:
                shutil.copyfileobj(tracked, copy)
        except (DvcException, FileNotFoundError) as error:
            if target is version.model:
                known = ", ".join(current_history().known) or "none yet"
                raise MintError(
                    f"RUN={revision} is neither `candidate`, an .onnx file, a model id ({known}) nor an experiment "
                    f"whose model is in DVC's cache (`dvc exp list`): {error}"
                ) from None
    return version


if __name__ == "__main__":
    run_stage(command_line)
