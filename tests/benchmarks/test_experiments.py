"""The experiments of the sources: the table, a run that goes on, and a report that says what was measured."""

import contextlib
import math
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.experiments import dataset
from benchmarks.experiments.job import Job, jobs, key
from benchmarks.experiments.readings import reading
from benchmarks.experiments.report import write_report
from benchmarks.experiments.results import RESULT, VariantResult
from benchmarks.experiments.run import run_variant, start_workers
from benchmarks.experiments.settings import ROOT, Scale, load_settings
from benchmarks.experiments.summary import cell, number, recognisable, sentence, wall_seconds
from benchmarks.experiments.variants import EXPERIMENTS, Size, Variant, all_variants, find
from serving.errors import MintError
from tests.training.project import BLUE, RED, picture
from training.params import ParamsError

TINY = Size(
    images=32,
    epochs=2,
    values={
        "data": {"resolution": 28, "channels": 1},
        "network": {"generator_width": 4, "discriminator_width": 4},
        "train": {"batch": 8, "device": "cpu"},
    },
    evaluated=12,
    classifier_epochs=1,
    pool=120,
)
EXPLODING = Variant(
    "wgan",
    "a rate of 1",
    "digits-gan",
    {
        "objective": {"name": "least-squares"},
        "train": {
            "generator_optimizer": "sgd",
            "discriminator_optimizer": "sgd",
            "generator_lr": 1.0,
            "discriminator_lr": 1.0,
        },
    },
    small=TINY,
    full=TINY,
)


@dataclass(frozen=True)
class Bench:
    """A folder of experiments with its own pictures, kept runs and results."""

    folder: Path

    def orders(self, variant: Variant, size: Size = TINY, seeds: int = 2) -> list[Job]:
        with contextlib.chdir(self.folder):  # where sources are unpacked
            return jobs(variant, size, seeds, None, self.folder, workers=2)

    def results(self, name: str) -> Path:
        return self.folder / "results" / name

    def run_here(self, variant: Variant) -> VariantResult:
        """Runs what is missing without other processes."""
        with ThreadPoolExecutor(1) as pool:
            run_variant(self.orders(variant), "small", self.results(variant.name), pool)
        return read(self.results(variant.name))


def read(folder: Path) -> VariantResult:
    return VariantResult.model_validate_json((folder / RESULT).read_bytes())


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two seeds of a DCGAN, trained as `run` does it, but by one process: starting two takes half of the time here."""
    bench = Bench(tmp_path_factory.mktemp("experiments"))
    with start_workers(1) as pool:
        assert run_variant(bench.orders(find("dcgan")), "small", bench.results("dcgan"), pool) == 2
    return bench


@pytest.fixture(scope="module")
def exploded(bench: Bench) -> VariantResult:
    return bench.run_here(EXPLODING)


@pytest.fixture(scope="module")
def report(bench: Bench, exploded: VariantResult) -> Path:
    """The report on both variants."""
    folder = bench.folder / "report"
    write_report(bench.folder / "results", folder)
    return folder


@pytest.mark.parametrize("scale", ["small", "full"])
def test_every_variant_has_parameters_that_work_together(scale: Scale) -> None:
    for variant in all_variants():
        size = variant.size(scale)
        params = variant.params(size, seed=1)
        assert params.train.length.amount == size.epochs
        assert params.data.limit == size.images


def test_a_small_run_keeps_what_its_variant_is_about() -> None:
    params = find("wgan-gp-lambda-half").params(find("wgan-gp-lambda-half").small, 0)
    assert (params.objective.gradient_penalty, params.train.discriminator_steps) == (0.5, 5)
    assert find("latent-10").params(find("latent-10").small, 0).network.latent_dim == 10
    assert find("rotated").params(find("rotated").small, 0).train.rotation == 30


def test_dvc_runs_the_variants_of_the_table() -> None:
    stages = yaml.safe_load((ROOT / "experiments" / "dvc.yaml").read_text())["stages"]
    names = [variant.name for variant in all_variants()]
    assert stages["run"]["matrix"]["variant"] == names
    assert len(set(names)) == len(names)
    for stage in stages.values():
        for dependency in stage["deps"]:
            assert dependency.startswith(".runs/") or (ROOT / dependency).exists()


def test_the_committed_settings_are_valid_and_a_typo_is_named(tmp_path: Path) -> None:
    assert load_settings().seeds >= 1
    path = tmp_path / "params.yaml"
    path.write_text("scale: smal\nseeds: 4\nrgb_source: null\n")
    with pytest.raises(ParamsError, match="scale"):
        load_settings(path)


def test_an_unknown_variant_is_answered_with_the_nearest() -> None:
    with pytest.raises(MintError, match="did you mean latent-50"):
        find("latent-5O")


def test_seeds_train_on_one_thread_each_and_give_finite_results(bench: Bench) -> None:
    result = read(bench.results("dcgan"))
    assert [seed.seed for seed in result.seeds] == [0, 1]
    assert result.seeds[0].measures != result.seeds[1].measures
    for seed in result.seeds:
        assert seed.exploded_at is None
        assert seed.images_seen == 64
        assert [look.epoch for look in seed.looks] == [1, 2]
        assert all(math.isfinite(value) for value in (*seed.measures.values(), seed.curve[-1].d_loss))
        assert seed.hardware.threads == 1
    assert (bench.results("dcgan") / "sheets" / "epoch-0002.png").exists()


def test_an_interrupted_variant_goes_on_with_the_seeds_that_are_missing(bench: Bench) -> None:
    before = read(bench.results("dcgan")).seeds
    orders = bench.orders(find("dcgan"))
    orders[1].result.unlink()
    after = bench.run_here(find("dcgan")).seeds
    assert after[0] == before[0]
    assert after[1].began > before[1].began
    assert after[1].looks == before[1].looks  # the same run, drawn from the same seed


def test_a_kept_run_serves_only_what_asks_for_the_same() -> None:
    plain = key(find("dcgan"), TINY, "data")
    assert key(find("aligned"), TINY, "data") == plain
    assert plain not in {
        key(find("rotated"), TINY, "data"),
        key(find("dcgan"), replace(TINY, epochs=3), "data"),
        key(find("dcgan"), TINY, "other data"),
    }


def test_an_explosion_is_a_result(exploded: VariantResult) -> None:
    assert exploded.exploded == 2
    assert cell(exploded, "kid") == "none"
    assert exploded.seeds[0].measures == {}


def test_tables_hold_the_mean_and_the_standard_deviation(bench: Bench, report: Path) -> None:
    first, second = (seed.measures["kid"] for seed in read(bench.results("dcgan")).seeds)
    mean = (first + second) / 2
    deviation = abs(first - second) / math.sqrt(2)  # of two values, with one degree of freedom
    assert f"<td>{mean:.3f} ± {deviation:.3f}</td>" in (report / "index.html").read_text()
    assert f"| {mean:.3f} ± {deviation:.3f} |" in (report / "README.md").read_text()
    for name in ("index.html", "README.md"):
        assert "(2 of 2 exploded)" in (report / name).read_text()
        assert "KID (efficientnet-lite0)" in (report / name).read_text()


def test_the_page_needs_nothing_from_elsewhere_and_names_no_machine(report: Path) -> None:
    page = (report / "index.html").read_text()
    for text in (page, (report / "README.md").read_text()):
        assert "http://" not in text
        assert "https://" not in text
        assert str(ROOT) not in text
        assert socket.gethostname() not in text
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page


def test_every_picture_that_the_report_names_is_there_and_described(report: Path) -> None:
    images = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', (report / "index.html").read_text())
    images += [(path, alt) for alt, path in re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", (report / "README.md").read_text())]
    assert len(images) >= 6
    for path, alt in images:
        assert (report / path).stat().st_size < 60_000
        assert len(alt) > 10


def scored(result: VariantResult, *kids: float) -> VariantResult:
    """A result whose seeds have these KIDs."""
    seeds = tuple(
        seed.model_copy(update={"measures": {"kid": kid}}) for seed, kid in zip(result.seeds, kids, strict=True)
    )
    return result.model_copy(update={"seeds": seeds})


def test_a_leader_is_named_only_where_runs_scatter_less_than_it_leads(bench: Bench) -> None:
    result = read(bench.results("dcgan"))
    low, high = scored(result, 0.10, 0.12), scored(result, 0.30, 0.32)
    assert sentence([("a", high), ("b", low)], "kid") == "Lowest KID: b (0.110)."
    assert sentence([("a", scored(result, 0.05, 0.55)), ("b", low)], "kid") == "No variant stands out in KID."


def test_samples_are_recognisable_from_the_first_look_that_shows_half_of_the_classes(bench: Bench) -> None:
    seed = read(bench.results("dcgan")).seeds[0]
    poor, good = (
        seed.looks[0].model_copy(update={"epoch": 1, "coverage": 0.6, "precision": 0.05}),
        seed.looks[0].model_copy(update={"epoch": 7, "coverage": 0.6, "precision": 0.2}),
    )
    assert recognisable(seed.model_copy(update={"looks": (poor, good)})) == 7
    assert recognisable(seed.model_copy(update={"looks": (poor,)})) is None


def test_runs_side_by_side_count_once(bench: Bench) -> None:
    result = read(bench.results("dcgan"))
    spans = ((0.0, 10.0), (5.0, 10.0), (100.0, 1.0))
    seeds = tuple(result.seeds[0].model_copy(update={"began": began, "seconds": took}) for began, took in spans)
    shared = result.model_copy(update={"seeds": seeds})
    assert wall_seconds([shared, shared]) == 16


def test_a_number_is_never_minus_zero() -> None:
    assert [number(value, 3) for value in (-0.0001, -0.0012, 1234.5)] == ["0.000", "-0.001", "1,234.500"]


def test_channels_of_a_composed_picture_are_three_images_of_one_class() -> None:
    labels = np.repeat(np.arange(3), 5)
    grey = np.arange(15, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    composed, kept = dataset.compose(grey, labels)
    assert composed.shape == (15, 2, 2, 3)
    for index, image in enumerate(composed):
        members = set(image[0, 0].tolist())
        assert len(members) == 3
        assert {int(labels[member]) for member in members} == {int(kept[index])}


def test_too_few_pictures_are_refused_with_how_many_are_needed() -> None:
    few = dataset.LabelledImages(np.zeros((30, 2, 2, 1), np.uint8), np.zeros(30, np.int64))
    parts = dataset.split(few, 6, evaluated=8)
    assert [len(part.images) for part in (parts.training, parts.reference, parts.held_out)] == [6, 16, 8]
    with pytest.raises(MintError, match="there are 30 pictures, and 31 are needed"):
        dataset.split(few, 7, evaluated=8)


def test_every_experiment_says_what_it_asks_and_what_differs() -> None:
    assert len(EXPERIMENTS) == 6
    for experiment in EXPERIMENTS:
        assert experiment.question.endswith("?")
        assert experiment.differs
        assert set(experiment.reading) <= set(experiment.columns)


def test_pictures_of_a_source_come_with_its_class_folders(tmp_path: Path) -> None:
    for folder, colour in (("red", RED), ("blue", BLUE)):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "photos" / folder / f"{index}.png").write_bytes(picture(colour))
    with contextlib.chdir(tmp_path):
        dataset.prepare(dataset.ImageSpec(28, 3, "photos"), tmp_path / "arrays")
        with pytest.raises(MintError, match="no class folders"):
            dataset.prepare(dataset.ImageSpec(28, 3, "photos/red"), tmp_path / "red")
    made = dataset.load(tmp_path / "arrays")
    assert [tuple(one[0, 0]) for one in made.images] == [(BLUE, RED)[label] for label in made.labels]


def told(result: VariantResult, name: str, kid: float = 1.0, coverage: float = 1.0, epoch: int = 35) -> VariantResult:
    """The result as another variant's: its KID, and the classes covered at an epoch and at the end."""
    look = result.seeds[0].looks[0].model_copy(update={"coverage": coverage, "diversity": 0.9, "precision": 0.5})
    looks = (look.model_copy(update={"epoch": epoch}), look.model_copy(update={"epoch": 50}))
    images = find(name).small.images
    seeds = tuple(
        seed.model_copy(update={"looks": looks, "images": images, "measures": {"kid": kid + 0.01 * seed.seed}})
        for seed in result.seeds
    )
    return result.model_copy(update={"name": name, "seeds": seeds, "images": images})


def said(experiment: str, *results: VariantResult) -> str:
    """The reading of some variants of an experiment."""
    (asked,) = (one for one in EXPERIMENTS if one.name == experiment)
    return reading(asked, {result.name: result for result in results})


def test_the_reading_on_collapse_answers_whether_there_was_one(bench: Bench) -> None:
    result = read(bench.results("dcgan"))
    remedies = [told(result, "collapse-replay", kid=0.5), told(result, "collapse-noise", kid=1.5, coverage=0.4)]
    holds = said("collapse", told(result, "collapse-plain"), *remedies)
    assert holds.startswith("No: 0 of 2 plain runs had collapsed by epoch 35.")
    assert "Not reproduced: the source's collapse." in holds
    assert (
        'KID against "plain" (1.005): lower with "replay of old fakes" (0.505) and higher with "instance noise"'
        in holds
    )
    assert 'Collapsed with a remedy: "instance noise" (2 of 2).' in holds
    falls = said("collapse", told(result, "collapse-plain", coverage=0.3), *remedies)
    assert falls.startswith("Yes: 2 of 2 plain runs had collapsed by epoch 35.")
    assert "Not reproduced" not in falls


def test_a_reading_says_where_a_table_contradicts_the_source(bench: Bench) -> None:
    result = read(bench.results("dcgan"))
    whole = said("digits", told(result, "digits-gan", coverage=0.6), told(result, "digits-dcgan", coverage=1.0))
    assert "Not reproduced: a DCGAN that loses classes. Here it covers 1.00 of them" in whole
    assert "the vanilla GAN 0.60, which contradicts it." in whole
    few = said("digits", told(result, "digits-gan", coverage=0.6), told(result, "digits-dcgan", coverage=0.3))
    assert "Not reproduced" not in few


def test_data_of_different_sizes_are_compared_by_images_seen(bench: Bench) -> None:
    result = read(bench.results("dcgan"))
    few, many = told(result, "rgb-28-1000", epoch=5), told(result, "rgb-28-3000", epoch=2)
    assert "Lowest images seen until recognisable: 28 px, 1,000 images (5,000)." in said("colour", few, many)
    long, short = told(result, "latent-10", kid=0.5), told(result, "latent-10-short", kid=0.9)
    others = told(result, "latent-50", kid=0.7), told(result, "latent-50-short", kid=0.6)
    apart = said("latent", long, others[0], short, others[1])
    assert "Lowest KID: latent 10 (0.505)." in apart
    assert "Lowest KID: latent 50, short (0.605)." in apart
    assert "Not reproduced: that latent 50 is better than latent 10, as their KIDs are the other way round." in apart


def test_a_reading_of_runs_that_exploded_or_are_missing_says_only_what_is_known(exploded: VariantResult) -> None:
    for experiment in EXPERIMENTS:
        for variant in experiment.variants:
            assert "nan" not in said(experiment.name, exploded.model_copy(update={"name": variant.name}))
        every = [exploded.model_copy(update={"name": variant.name}) for variant in experiment.variants]
        assert "(0." not in said(experiment.name, *every)


def test_every_figure_of_a_committed_reading_stands_in_its_table() -> None:
    report = (ROOT / "reports" / "experiments" / "README.md").read_text()
    checked = 0
    for experiment in EXPERIMENTS:
        section = report[report.index(f"## {experiment.title}\n") :]
        section = section[: section.index("\n### ")]
        rows = {
            line.split(" | ")[0].removeprefix("| "): line for line in section.splitlines() if re.match(r"\| \w", line)
        }
        (text,) = re.findall(r"\*\*Reading\.\*\* (.*)", section)
        for label, row in rows.items():
            for figure in re.findall(rf'(?:: |"){re.escape(label)}"? \(([\d.,]+)\)', text):
                assert f"| {figure} ± " in row, (label, figure)
                checked += 1
    assert checked > 20
