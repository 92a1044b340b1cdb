"""Commands of `mint` that need the training package: `mint doctor` and `mint verify`.

pyproject.toml registers them for serving/cli.py, which imports nothing of training. Imports are deferred: every `mint`
loads this module.
"""

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    log: Annotated[Path, typer.Argument(help="CSV, TSV, JSON lines, a TensorBoard event file or a folder of them")],
    column: Annotated[
        list[str] | None,
        typer.Option(help="an unusual name in the log: d_loss=NAME, also g_loss, d_real, d_fake, fid, kid"),
    ] = None,
) -> None:
    """Diagnose the training log of any GAN program."""
    from training.log_files import parse_columns, read_log
    from training.log_report import report

    for line in report(log, read_log(log, parse_columns(column or []))):
        typer.echo(line)


def verify(
    run: Annotated[str | None, typer.Argument(help="a folder in .runs/; by default the newest run")] = None,
    seed: Annotated[int | None, typer.Option(help="which stretch; by default a random one")] = None,
) -> None:
    """Train a stretch of a run again and compare it bit for bit."""
    from training.verify import verify as verify_run

    typer.echo(verify_run(run, seed))
