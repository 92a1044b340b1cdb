"""Quality benchmark: equal tuning, the same images for all, and documentation that claims what the report says."""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import quality, quality_docs, trials
from benchmarks.configs import config
from benchmarks.quality import Trial
from tests.training.project import COMMITTED_PARAMS, write_params
from training import paths, stage_code
from training.params import load_params, validate_params

SOURCE = str(COMMITTED_PARAMS.parent / "data/fashion-mnist-10k")


@pytest.mark.parametrize("name", quality.CONFIGS)
def test_every_configuration_has_the_same_images_and_the_same_metrics(name: str, tmp_path: Path) -> None:
    trials.write_params(Trial(name, 5.0, 128, seed=2, seconds=1).params, tmp_path)
    params, default = (
        validate_params(yaml.safe_load((tmp_path / paths.PARAMS).read_text()), "a scratch folder"),
        load_params(),
    )
    assert params.data.model_dump(exclude={"source"}) == default.data.model_dump(exclude={"source"})
    assert params.evaluate == default.evaluate
    assert params.train.horizontal_flip == default.train.horizontal_flip  # shoes all point left in these images
    assert (params.train.batch, params.train.seed) == (128, 2)


def test_the_networks_and_objectives_of_the_sources_are_in_the_table() -> None:
    rows = {name: config(preset, **changes) for name, (preset, changes) in quality.CONFIGS.items()}
    assert {params.network.name for params in rows.values()} == {"dense", "upsampling", "dcgan", "residual"}
    assert rows["wgan"].objective.weight_clip == 0.01
    assert rows["wgan-gp"].objective.gradient_penalty == 10
    assert rows["residual"].objective.name == "relativistic"


@pytest.mark.parametrize("name", quality.CONFIGS)
def test_every_configuration_is_tuned_over_the_same_factors_and_batches(name: str) -> None:
    preset, changes = quality.CONFIGS[name]
    own = config(preset, **changes).train
    tried = [trial.params.train for trial in quality.tuning(name, seconds=60)]
    assert [(round(t.generator_lr / own.generator_lr), t.batch) for t in tried] == [
        (1, 32),
        (1, 128),
        (5, 32),
        (5, 128),
    ]
    for t in tried:
        assert t.generator_lr / t.discriminator_lr == pytest.approx(own.generator_lr / own.discriminator_lr)
    assert len({trial.result_path for trial in quality.tuning(name, seconds=60)}) == 4


def test_a_result_is_reused_only_for_the_same_code_time_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial("dcgan", 1.0, 32, seed=1, seconds=60)
    others = [Trial("dcgan", 1.0, 32, 2, 60), Trial("dcgan", 1.0, 32, 1, 61), Trial("dcgan", 5.0, 32, 1, 60)]
    files = {each.result_path for each in (trial, *others, Trial("dcgan", 1.0, 32, 1, 60, images=500))}
    for package in stage_code.PACKAGES:
        shutil.copytree(stage_code.ROOT / package, tmp_path / package)
    (tmp_path / "training/gan/trainer.py").write_text("other code")
    monkeypatch.setattr(stage_code, "ROOT", tmp_path)
    assert len(files | {Trial("dcgan", 1.0, 32, 1, 60).result_path}) == 6


def made_up_result(trial: Trial) -> dict[str, Any]:
    """A result in which plain DCGAN at 5 times its rates beats the default, and upsampling diverges."""
    if trial.config == "upsampling":
        return {"kimg": 1.0, "failed": "the weights are not numbers"}
    best = {"default": 0.2, "dcgan": 0.1}.get(trial.config, 0.5)
    distance = 0.0 if (trial.rate_factor, trial.batch) == (5.0, 32) else 0.4
    kid = best + distance + 0.01 * (trial.seed - 2)  # seeds 1, 2, 3 spread around it; tuning has seed 0
    return {"kid": kid, "fid": 100.0, "precision": 0.5, "recall": 0.25, "kimg": 12.0, "extractor": "mobilenet-v2"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Report and documentation of a benchmark whose runs have the results of `made_up_result`."""
    folder = tmp_path_factory.mktemp("quality")

    def run_missing(missing: Iterable[Trial], workers: int) -> None:
        for trial in missing:
            trial.result_path.write_text(json.dumps(made_up_result(trial)))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(quality, "RESULTS", folder)
        patched.setattr(
            quality, "CONFIGS", {name: quality.CONFIGS[name] for name in ("default", "dcgan", "upsampling")}
        )
        patched.setattr(quality, "prepare", lambda: None)
        patched.setattr(quality, "run_missing", run_missing)
        patched.setattr(quality_docs, "REPORT", folder / "report.json")
        patched.setattr(quality_docs, "DOCS", folder / "gans.md")
        patched.setattr(sys, "argv", ["quality", "--training", "2", "--seeds", "3", "--workers", "1"])
        quality_docs.DOCS.write_text(f"before\n{quality_docs.BEGIN}old\n{quality_docs.END}after\n")
        quality.main()
        found: dict[str, Any] = json.loads(quality_docs.REPORT.read_text())
        return found | {"text": quality_docs.DOCS.read_text()}


def test_the_best_pair_is_trained_again_and_the_sources_own_pair_beside_it(report: dict[str, Any]) -> None:
    dcgan, default = report["recipes"]["dcgan"], report["recipes"]["default"]
    assert (dcgan["tuned"]["generator_lr"], dcgan["tuned"]["batch"]) == (pytest.approx(1e-3), 32)
    assert (dcgan["source"]["generator_lr"], dcgan["source"]["batch"]) == (2e-4, 128)
    assert [len(dcgan[part]["runs"]) for part in ("tuned", "source")] == [3, 3]
    assert [run["kid"] for run in default["tuned"]["runs"]] == pytest.approx([0.19, 0.2, 0.21])


def test_the_documentation_claims_what_the_report_says_even_where_the_default_is_not_the_best(
    report: dict[str, Any],
) -> None:
    text = report["text"]
    assert text.startswith(f"before\n{quality_docs.BEGIN}")
    assert text.endswith(f"{quality_docs.END}after\n")
    assert "old" not in text
    assert "| `digits-dcgan` (dcgan) | 0.001 / 0.001, 32 | 0.100 +- 0.010 | 100 | 0.50 | 0.25 | 12 |" in text
    assert "| `flowers-28` (upsampling) | 0.0001 / 1e-05, 32 | - | - | - | - | 1 |" in text
    assert "The default's KID is 2.00 times that of plain DCGAN, both tuned alike, and 0.40 times that of" in text
    assert "The best of the others is dcgan: the default's KID is 2.00 times its." in text
    assert text.index("(dcgan)") < text.index("(default)") < text.index("(upsampling)")


def test_the_committed_documentation_is_what_the_committed_report_says() -> None:
    text = quality_docs.DOCS.read_text()
    assert quality_docs.with_section(text, quality_docs.read()) == text


def test_a_run_is_trained_exported_and_evaluated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(
        tmp_path,
        data={"source": SOURCE, "limit": 40},
        evaluate={"images": 16, "classifier_epochs": 1},
    )
    trial = Trial("default, no classes", 1.0, 32, seed=1, seconds=0.3)
    quality.prepare()
    trials.train_and_save(trial)
    result = trials.read_result(trial)
    assert result["kid"] == trials.kid(trial) > 0
    assert result["images"] == 16
    assert result["kimg"] > 0
    before = trial.result_path.stat().st_mtime_ns
    trials.run_missing([trial], workers=1)
    assert trial.result_path.stat().st_mtime_ns == before
