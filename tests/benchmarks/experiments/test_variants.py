"""Table of experiments: every variant has valid parameters, and DVC runs all of them."""

from pathlib import Path

import pytest
import yaml

from benchmarks.experiments.findings import FINDINGS
from benchmarks.experiments.settings import ROOT, Scale, load_settings
from benchmarks.experiments.summary import COLUMNS
from benchmarks.experiments.variants import EXPERIMENTS, all_variants, find
from serving.errors import MintError
from training.params import ParamsError


@pytest.mark.parametrize("scale", ["small", "full"])
def test_every_variant_has_parameters_that_work_together(scale: Scale) -> None:
    for variant in all_variants():
        size = variant.size(scale)
        params = variant.params(size, seed=1)
        assert params.train.length.amount == size.epochs
        assert params.data.limit == size.images


def test_a_small_run_keeps_the_values_that_define_its_variant() -> None:
    params = find("wgan-gp-lambda-half").params(find("wgan-gp-lambda-half").small, 0)
    assert (params.objective.gradient_penalty, params.train.discriminator_steps) == (0.5, 5)
    assert find("latent-10").params(find("latent-10").small, 0).network.latent_dim == 10
    assert find("rotated").params(find("rotated").small, 0).train.rotation == 30


def test_dvc_runs_exactly_the_variants_of_the_table_and_its_dependencies_exist() -> None:
    stages = yaml.safe_load((ROOT / "experiments" / "dvc.yaml").read_text())["stages"]
    names = [variant.name for variant in all_variants()]
    assert stages["run"]["matrix"]["variant"] == names
    assert len(set(names)) == len(names)
    for stage in stages.values():
        for dependency in stage["deps"]:
            assert dependency.startswith(".runs/") or (ROOT / dependency).exists(), dependency


def test_every_experiment_asks_a_question_about_columns_of_its_table() -> None:
    assert set(FINDINGS) == {experiment.name for experiment in EXPERIMENTS}
    for experiment in EXPERIMENTS:
        assert experiment.question.endswith("?")
        assert len(experiment.variants) > 1, "nothing to compare"
        assert set(experiment.compared) <= set(experiment.columns) <= set(COLUMNS)
        for column in experiment.compared:
            assert COLUMNS[column].better, f"{column} has no best variant"


def test_the_committed_settings_are_valid_and_the_error_names_a_wrong_key(tmp_path: Path) -> None:
    assert load_settings().seeds >= 1
    path = tmp_path / "params.yaml"
    path.write_text("scale: smal\nseeds: 4\nrgb_source: null\n")
    with pytest.raises(ParamsError, match="scale"):
        load_settings(path)


def test_the_error_of_an_unknown_variant_suggests_the_nearest() -> None:
    with pytest.raises(MintError, match="did you mean latent-50"):
        find("latent-5O")
