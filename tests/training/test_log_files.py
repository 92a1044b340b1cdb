"""Logs of other programs: their formats, their names for losses and scores, and what cannot be read."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.log_files import LogError, match_columns, parse_columns, read_log

CSV = "Iteration,Loss_D,Loss_G,D(x),D(G(z))\n0,1.4,0.9,0.5,0.5\n1000,0.9,1.5,0.7,0.3\n"


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", CSV),
        ("log.tsv", CSV.replace(",", "\t")),
        ("log.txt", CSV.replace(",", ";")),
        (
            "log.jsonl",
            '{"step": 0, "loss": {"D": 1.4, "G": 0.9}, "d_x": 0.5, "fake_score": 0.5}\n'
            '{"step": 1000, "loss": {"D": 0.9, "G": 1.5}, "d_x": 0.7, "fake_score": 0.3}\n',
        ),
    ],
)
def test_usual_names_are_recognised_in_every_format(tmp_path: Path, name: str, content: str) -> None:
    trace = read_log(write(tmp_path, name, content), {}).trace
    assert trace.kimg.tolist() == [0.0, 1.0]
    assert trace["d_loss"].tolist() == [1.4, 0.9]
    assert trace["g_loss"].tolist() == [0.9, 1.5]
    assert trace["d_real"].tolist() == [0.5, 0.7]
    assert trace["d_fake"].tolist() == [0.5, 0.3]


def test_the_log_of_stylegan_is_read(tmp_path: Path) -> None:
    """Its stats.jsonl holds sums of each value, and its scores are logits."""
    rows = [
        {
            "Loss/scores/real": {"num": 64, "mean": logit, "std": 1.0},
            "Loss/scores/fake": {"num": 64, "mean": -logit, "std": 1.0},
            "Loss/G/loss": {"num": 64, "mean": 0.7, "std": 0.1},
            "Progress/tick": {"num": 1, "mean": tick, "std": 0.0},
            "timestamp": 1.7e9,
        }
        for tick, logit in enumerate((0.0, 2.0))
    ]
    log = read_log(write(tmp_path, "stats.jsonl", "\n".join(map(json.dumps, rows))), {})
    assert log.trace["g_loss"].tolist() == [0.7, 0.7]
    assert log.trace["d_real"] == pytest.approx([0.5, 0.8808], abs=1e-4)
    assert log.trace["d_fake"] == pytest.approx([0.5, 0.1192], abs=1e-4)


def test_the_event_files_of_tensorboard_are_read(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for step in (0, 500):
            writer.add_scalar("Loss/D", 1.0 + step, step)
            writer.add_scalar("FID", 90.0 - step / 100, step)
    for path in (tmp_path, next(tmp_path.glob("*tfevents*"))):
        trace = read_log(path, {}).trace
        assert trace.kimg.tolist() == [0.0, 0.5]
        assert trace["d_loss"].tolist() == [1.0, 501.0]
        assert trace["fid"].tolist() == [90.0, 85.0]


def test_a_column_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "log.csv", "step,critic value,g\n1,2.0,3.0\n")
    trace = read_log(path, parse_columns(["d_loss=critic value", "g_loss=g"])).trace
    assert trace["d_loss"].tolist() == [2.0]
    assert trace["g_loss"].tolist() == [3.0]


def test_rows_that_lack_a_value_keep_the_others(tmp_path: Path) -> None:
    trace = read_log(write(tmp_path, "log.csv", "step,d_loss,fid\n1,0.5,\n2,nan,30\n3,text,29\n"), {}).trace
    np.testing.assert_array_equal(trace["d_loss"], [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(trace["fid"], [np.nan, 30, 29])


def test_a_log_without_steps_counts_its_rows(tmp_path: Path) -> None:
    trace = read_log(write(tmp_path, "log.csv", "d_loss\n0.5\n0.4\n"), {}).trace
    assert trace.kimg.tolist() == [0.0, 0.001]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    trace = read_log(write(tmp_path, "log.jsonl", '{"d_loss": 1}\n{"d_lo'), {}).trace
    assert trace["d_loss"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", [], "log.csv is empty; name the log of a run that has begun"),
        ("step,d_loss\n", [], "has a heading and no rows"),
        ("a,b\n1,2\n", [], r"no column that is known \(a, b\); name one: --column d_loss=NAME"),
        ("step,d_loss\n1,2\n", ["d_loss"], "write a measurement and its name in the log, such as d_loss=d_loss"),
        ("step,d_loss\n1,2\n", ["dloss=d_loss"], "dloss is no measurement; did you mean d_loss?"),
        ("step,loss_x\n1,2\n", ["d_loss=los_x"], "the log has no such column; did you mean loss_x?"),
        ('{"d_loss": 1}\nhello\n{"d_loss": 2}\n', [], "line 2 is not a JSON object"),
    ],
)
def test_what_cannot_be_read_is_explained_in_one_sentence(
    tmp_path: Path, content: str, options: list[str], message: str
) -> None:
    path = write(tmp_path, "log.csv", content)
    with pytest.raises(LogError, match=message) as error:
        read_log(path, parse_columns(options))
    assert "\n" not in str(error.value)


def test_missing_and_binary_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="does not exist; name a CSV"):
        read_log(tmp_path / "nothing.csv", {})
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(LogError, match="is not text; it takes CSV"):
        read_log(tmp_path / "binary", {})


def test_the_usual_spelling_wins_over_parts_of_longer_names() -> None:
    assert match_columns(["d_loss", "d_loss_real"], {})["d_loss"] == "d_loss"
    assert match_columns(["epoch", "step"], {})["step"] == "step"
