"""Promotion: which candidates are served, what is said of the others, and the way back. Files are real ONNX files."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from serving.errors import MintError
from tests.tiny_model import save, tiny_card, tiny_model, with_card
from tests.training.project import Project, write_params
from training import paths, promote
from training.model_versions import CANDIDATE, KEPT, SERVED, ModelVersion, current_history

GOOD = {
    "images": 2000,
    "extractor": "some",
    "kid": 0.1,
    "kid_std": 0.001,
    "precision": 0.7,
    "precision_of_real": 0.8,
    "recall": 0.3,
    "recall_of_real": 0.8,
    "diversity": 25.0,
    "diversity_of_real": 30.0,
    "class_agreement": 0.9,
}
OTHER_DATA = "1" * 64


def constants(model: onnx.ModelProto, **factors: float) -> onnx.ModelProto:
    """Multiply constants of a model: kernel=0 takes away what depends on z."""
    for tensor in model.graph.initializer:
        if tensor.name in factors:
            scaled = numpy_helper.to_array(tensor) * np.float32(factors[tensor.name])
            tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
    return model


def model(number: int, data: str = "0" * 64) -> onnx.ModelProto:
    return with_card(tiny_model(weights=number), tiny_card(data_sha256=data))


def candidate(built: onnx.ModelProto, grid: bytes = b"a grid", **metrics: Any) -> str:
    """Write a model to models/candidate as `export` and `evaluate` do. metrics: over GOOD; None leaves one out."""
    paths.CANDIDATE.mkdir(parents=True, exist_ok=True)
    save(built, CANDIDATE.model)
    values = {"model_id": CANDIDATE.model_id, **GOOD, **metrics}
    CANDIDATE.metrics.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
    CANDIDATE.grid.write_bytes(grid)
    return CANDIDATE.model_id


def run(capsys: pytest.CaptureFixture[str]) -> str:
    """Run the stage; returns what it prints, which is one line."""
    promote.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert paths.DECISION.read_text() == line + "\n"  # with which `make train` ends
    return line


def served_files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (SERVED.model, SERVED.metrics, SERVED.grid) if path.exists()}


@pytest.fixture
def served(project: Project, capsys: pytest.CaptureFixture[str]) -> str:
    """Id of a model that was promoted."""
    write_params(project.folder)
    model_id = candidate(model(0))
    assert run(capsys).startswith(f"promoted: {paths.MODEL} is now {model_id}")
    return model_id


def test_a_sound_candidate_is_served_with_its_metrics_and_its_grid(
    served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    better = candidate(model(1), grid=b"another grid", kid=0.09)
    assert run(capsys) == (
        f"promoted: models/generator.onnx is now {better} (KID 0.0900); to go back to {served}: make rollback"
    )
    assert SERVED.model.read_bytes() == CANDIDATE.model.read_bytes()
    assert SERVED.read_metrics() == CANDIDATE.read_metrics()
    assert SERVED.grid.read_bytes() == b"another grid"


GREY = {"kernel": 0.0, "bias": 0.0, "by_class": 0.0}
DEFECTS: dict[str, tuple[dict[str, float], dict[str, Any], str]] = {
    "grey": (GREY, {}, "its images are of one colour each (contrast 0.0 of 255)"),
    "grey, with metrics that were omitted": (GREY, dict.fromkeys(GOOD), "its images are of one colour each"),
    "one image a class": ({"kernel": 0.0}, {}, "it makes the same image of every seed (they differ by 0.0 of 255)"),
    "alike": (
        {},
        {"diversity": 6.0},
        "it has collapsed: its images differ by 20% of what real ones do (promote.min_diversity: 30%)",
    ),
    "noise": (
        {},
        {"precision": 0.0},
        "0.0% of its images look like real ones (precision; promote.min_precision: 1.0%)",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_constant_or_collapsed_candidate_is_refused_whatever_is_served(
    served: str, capsys: pytest.CaptureFixture[str], defect: str
) -> None:
    factors, metrics, reason = DEFECTS[defect]
    before = served_files()
    refused = candidate(constants(model(1, data=OTHER_DATA), **factors), **metrics)
    line = run(capsys)
    assert line.startswith(f"NOT PROMOTED: {refused} is not served, because {reason}")
    assert f". {served} stays in service; " in line
    assert line.endswith(f"make promote RUN={refused}")
    assert served_files() == before


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        ({"kid": 0.13}, "a KID of 0.1300 and the served model 0.1000 (promote.tolerance: 20%)"),
        ({"class_agreement": 0.6}, "a class agreement of 60% and the served model 90% (promote.tolerance: 20%)"),
    ],
)
def test_a_candidate_worse_than_the_served_model_on_the_same_data_is_refused(
    served: str, capsys: pytest.CaptureFixture[str], worse: dict[str, Any], reason: str
) -> None:
    before = served_files()
    candidate(model(1), **worse)
    assert f"because on the same data it has {reason}" in run(capsys)
    assert served_files() == before


@pytest.mark.parametrize(
    "harmless",
    [
        {"kid": 0.119, "class_agreement": 0.75},
        {"kid": 0.15, "kid_std": 0.03},
        {"kid": 0.9, "images": 100},
        {"kid": 0.9, "extractor": "another"},
        {"recall": 0.0},
        dict.fromkeys(GOOD),
    ],
    ids=["within the tolerance", "within noise", "other sample", "other extractor", "no recall", "too little data"],
)
def test_a_candidate_is_not_refused_without_a_reason(
    served: str, capsys: pytest.CaptureFixture[str], harmless: dict[str, Any]
) -> None:
    model_id = candidate(model(1), **harmless)
    assert run(capsys).startswith(f"promoted: models/generator.onnx is now {model_id}")


def test_models_of_other_data_are_not_compared(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    model_id = candidate(model(1, data=OTHER_DATA), kid=0.9)
    assert run(capsys).startswith(f"promoted: models/generator.onnx is now {model_id}")


def test_a_poor_model_is_not_reported_in_the_tone_of_a_success(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    candidate(model(1, data=OTHER_DATA), precision=0.05, recall=0.0)
    assert run(capsys).endswith(
        "It is still poor (precision 0.05, real images 0.80; recall 0.00, real images 0.80): "
        "train it longer, or with another preset"
    )


def test_a_refused_candidate_can_be_served_by_hand_and_the_stage_then_leaves_it(
    served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = candidate(constants(model(1), **GREY))
    run(capsys)
    assert promote.promote_by_hand(refused[:6]).startswith(f"promoted: models/generator.onnx is now {refused}")
    assert SERVED.model_id == refused
    assert "is served already" in run(capsys)
    assert promote.rollback() == (
        f"rolled back: models/generator.onnx is {served} again; to go forward to {refused}: make promote RUN={refused}"
    )


def test_the_stage_does_not_undo_a_rollback_until_there_is_another_candidate(
    served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    second = candidate(model(1), kid=0.05)
    run(capsys)
    promote.rollback()
    assert run(capsys) == (
        f"{served} stays in service as you chose while {second} was the candidate already; "
        f"to serve that one: make promote RUN={second}"
    )
    assert SERVED.model_id == served
    third = candidate(model(2), kid=0.05)
    assert run(capsys).startswith(f"promoted: models/generator.onnx is now {third}")


def test_rollbacks_go_back_one_by_one_through_the_last_five(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [served]
    for number in range(1, KEPT + 3):
        ids.append(candidate(model(number), grid=b"grid %d" % number))
        run(capsys)
    for number in reversed(range(2, KEPT + 2)):
        promote.rollback()
        assert SERVED.model_id == ids[number]
        assert SERVED.read_metrics() == GOOD | {"model_id": ids[number]}
        assert SERVED.grid.read_bytes() == b"grid %d" % number
    with pytest.raises(MintError, match="there is no model to go back to"):
        promote.rollback()
    assert {path.name for path in paths.HISTORY.iterdir()} == {*ids[2:], "history.json"}


def test_what_was_rolled_back_is_dropped_first_and_can_be_served_again(
    served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    second = candidate(model(1))
    run(capsys)
    promote.rollback()
    assert promote.promote_by_hand(second).startswith(f"promoted: models/generator.onnx is now {second}")
    assert promote.rollback().startswith(f"rolled back: models/generator.onnx is {served} again")
    for number in range(2, KEPT + 2):
        candidate(model(number))
        run(capsys)
    history = current_history()
    assert history.rolled_back == ()
    assert history.served[0] == served
    assert len(history.served) == KEPT + 1


def test_a_model_that_git_put_there_is_kept_too(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    save(model(5), SERVED.model)
    from_git = SERVED.model_id
    candidate(model(1))
    run(capsys)
    promote.rollback()
    assert SERVED.model_id == from_git
    assert not SERVED.metrics.exists()  # there were only those of another file
    promote.rollback()
    assert SERVED.model_id == served
    assert SERVED.read_metrics() == GOOD | {"model_id": served}


def test_new_metrics_of_the_served_model_replace_the_old_ones(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    inode = SERVED.model.stat().st_ino
    candidate(model(0), kid=0.3)
    assert run(capsys) == f"{served} is served already; reports/metrics.json is up to date"
    assert json.loads(SERVED.metrics.read_text())["kid"] == 0.3
    assert SERVED.model.stat().st_ino == inode  # the service has nothing to load


def test_a_file_is_promoted_with_the_metrics_beside_it(served: str, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    elsewhere = ModelVersion.in_folder(folder, "mine.onnx")
    save(model(1), elsewhere.model)
    elsewhere.metrics.write_text(json.dumps({"model_id": elsewhere.model_id, "kid": 0.2}))
    assert f"is now {elsewhere.model_id} (KID 0.2000)" in promote.promote_by_hand(str(elsewhere.model))
    assert SERVED.read_metrics() == {"model_id": elsewhere.model_id, "kid": 0.2}
    assert not SERVED.grid.exists()


def test_the_path_of_the_served_file_itself_changes_nothing(served: str) -> None:
    before = served_files()
    assert promote.promote_by_hand(f"./{paths.MODEL}") == f"{served} is served already"
    assert served_files() == before


def test_what_cannot_be_served_is_refused_even_by_hand(served: str, tmp_path: Path) -> None:
    before = served_files()
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(SERVED.model.read_bytes()[:-100])
    for run, words in ((str(damaged), "is not a whole ONNX file"), ("nonsense", "RUN=nonsense is neither `candidate`")):
        with pytest.raises(MintError, match=words):
            promote.promote_by_hand(run)
    assert served_files() == before


def test_a_candidate_without_metrics_of_its_own_is_an_error(served: str) -> None:
    candidate(model(1))
    save(model(2), CANDIDATE.model)
    with pytest.raises(
        MintError, match=r"metrics.json is not of models/candidate/generator.onnx; run dvc repro evaluate"
    ):
        promote.main()
    assert SERVED.model_id == served


def test_a_promotion_that_ended_in_the_middle_is_completed_by_the_next(
    served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a crash between the renames: the new model file, and no metrics yet."""
    second = candidate(model(1))
    shutil.copyfile(CANDIDATE.model, SERVED.model)
    SERVED.metrics.unlink()
    SERVED.grid.unlink()
    assert run(capsys) == f"{second} is served already; reports/metrics.json is up to date"
    assert SERVED.read_metrics() == CANDIDATE.read_metrics()
    promote.rollback()
    assert SERVED.model_id == served


@contextmanager
def metrics_watched(foreign: list[str]) -> Iterator[None]:
    """Read model and metrics again and again, and collect the ids of metrics that were beside another model."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            before = SERVED.model_id
            try:
                of = json.loads(SERVED.metrics.read_bytes())["model_id"]
            except FileNotFoundError:
                continue
            if before == SERVED.model_id != of:
                foreign.append(of)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_the_metrics_are_never_those_of_another_model(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    foreign: list[str] = []
    with metrics_watched(foreign):
        for number in range(1, 30):
            candidate(model(number))
            run(capsys)
            promote.rollback()
    assert foreign == []


def test_two_at_once_are_one_sentence(served: str, project: Project) -> None:
    with promote.exclusive_lock(paths.PROMOTE_LOCK, "replacing it"):
        done = subprocess.run(
            [sys.executable, "-m", "training.promote", "--rollback"], capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 1
    assert "is already replacing models/generator.onnx; wait for it or end it" in done.stderr
