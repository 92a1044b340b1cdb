"""Files of JSON lines: what is appended is read again."""

from pathlib import Path

from training.json_lines import append_line, read_lines


def test_rows_are_appended_and_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "rows.jsonl"
    assert read_lines(path) == []
    rows = [{"kimg": 1.0, "kid": 0.25}, {"event": "act", "values": {"train.beta1": 0.0}, "name": 'quoted "\n'}]
    for row in rows:
        append_line(path, row)
    assert read_lines(path) == rows
    assert len(path.read_text().splitlines()) == 2
