"""Report of the experiments: tables, findings and figures say what the results say, in a page that needs no network."""

import math
import re
import socket
from pathlib import Path

import pytest

from benchmarks.experiments.findings import findings
from benchmarks.experiments.report import write_report
from benchmarks.experiments.results import VariantResult
from benchmarks.experiments.settings import ROOT
from benchmarks.experiments.summary import best_variant, cell, number, recognisable, wall_seconds
from benchmarks.experiments.variants import EXPERIMENTS
from serving.errors import MintError
from tests.benchmarks.experiments.made_up_results import diverged, made_up, save


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report on a variant that trained and one that diverged."""
    folder = tmp_path_factory.mktemp("experiments")
    for result in (made_up("dcgan", 0.25, 0.35), diverged("wgan")):
        save(result, folder / "results")
    write_report(folder / "results", folder / "report")
    return folder / "report"


def test_tables_have_the_mean_and_the_sample_standard_deviation(report: Path) -> None:
    deviation = 0.1 / math.sqrt(2)
    assert f"<td>0.300 ± {deviation:.3f}</td>" in (report / "index.html").read_text()
    assert f"| 0.300 ± {deviation:.3f} |" in (report / "README.md").read_text()
    for name in ("index.html", "README.md"):
        text = (report / name).read_text()
        assert "(2 of 2 diverged)" in text
        assert "KID (efficientnet-lite0)" in text
        assert "held-out real images" in text


def test_rows_of_a_markdown_table_have_as_many_cells_as_its_header(report: Path) -> None:
    table = [line for line in (report / "README.md").read_text().splitlines() if line.startswith("|")]
    assert len(table) == 5  # header, rule, two variants, real images
    assert {line.count("|") for line in table} == {table[0].count("|")}


def test_the_page_has_no_script_and_no_address_and_names_no_machine(report: Path) -> None:
    page = (report / "index.html").read_text()
    for text in (page, (report / "README.md").read_text()):
        assert "http://" not in text
        assert "https://" not in text
        assert str(ROOT) not in text
        assert socket.gethostname() not in text
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page


def test_every_image_of_the_report_exists_and_is_described(report: Path) -> None:
    images = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', (report / "index.html").read_text())
    images += [(path, alt) for alt, path in re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", (report / "README.md").read_text())]
    assert {path for path, _ in images} == {
        "curves/dcgan.svg",
        "curves/wgan.svg",
        "sheets/dcgan-epoch-0001.png",
        "sheets/dcgan-epoch-0050.png",
    }
    for path, alt in images:
        assert (report / path).stat().st_size < 60_000
        assert len(alt) > 10


def test_text_of_a_result_is_escaped_in_the_page(tmp_path: Path) -> None:
    save(made_up("dcgan").model_copy(update={"data": "the images of <b>&"}), tmp_path / "results")
    write_report(tmp_path / "results", tmp_path / "report")
    assert "the images of &lt;b&gt;&amp;" in (tmp_path / "report" / "index.html").read_text()
    assert "the images of <b>&" in (tmp_path / "report" / "README.md").read_text()


def test_curves_are_the_same_bytes_for_the_same_results_and_others_for_others(report: Path, tmp_path: Path) -> None:
    for name, result in (("same", made_up("dcgan", 0.25, 0.35)), ("other", made_up("dcgan", coverage=0.5))):
        save(result, tmp_path / name)
        write_report(tmp_path / name, tmp_path / f"report-{name}")
    same, other = (tmp_path / f"report-{name}" / "curves" / "dcgan.svg" for name in ("same", "other"))
    assert same.read_bytes() == (report / "curves" / "dcgan.svg").read_bytes()
    assert same.read_bytes() != other.read_bytes()


def test_a_report_without_results_names_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(MintError, match="run dvc repro experiments/dvc.yaml"):
        write_report(tmp_path, tmp_path / "report")


def test_a_diverged_run_has_no_figures() -> None:
    assert cell(diverged("wgan"), "kid") == "none"
    assert cell(diverged("wgan"), "collapsed") == "diverged"


def test_the_best_variant_is_named_only_where_runs_spread_less_than_it_leads() -> None:
    low, high = made_up("dcgan", 0.10, 0.12), made_up("wgan", 0.30, 0.32)
    assert best_variant([("a", high), ("b", low)], "kid") == "Lowest KID: b (0.110)."
    assert best_variant([("a", made_up("wgan", 0.05, 0.55)), ("b", low)], "kid") == "No variant stands out in KID."


def test_samples_are_recognisable_from_the_first_evaluation_with_coverage_and_precision() -> None:
    seed = made_up("dcgan", coverage=0.6).seeds[0]
    good = seed.evaluations[0].model_copy(update={"epoch": 7, "precision": 0.2})
    poor = good.model_copy(update={"epoch": 1, "precision": 0.05})
    assert recognisable(seed.model_copy(update={"evaluations": (poor, good)})) == 7
    assert recognisable(seed.model_copy(update={"evaluations": (poor,)})) is None


def test_wall_time_counts_concurrent_and_shared_runs_once() -> None:
    result = made_up("dcgan")
    spans = ((0.0, 10.0), (5.0, 10.0), (100.0, 1.0))
    seeds = tuple(result.seeds[0].model_copy(update={"started_at": start, "seconds": took}) for start, took in spans)
    shared = result.model_copy(update={"seeds": seeds})
    assert wall_seconds([shared, shared]) == 16


def test_a_number_is_never_minus_zero() -> None:
    assert [number(value, 3) for value in (-0.0001, -0.0012, 1234.5)] == ["0.000", "-0.001", "1,234.500"]


def found(experiment: str, *results: VariantResult) -> str:
    """Findings of an experiment from the results of some of its variants."""
    (wanted,) = (one for one in EXPERIMENTS if one.name == experiment)
    return findings(wanted, {result.name: result for result in results})


def test_the_findings_on_collapse_answer_whether_there_was_one() -> None:
    remedies = [made_up("collapse-replay", 0.5, 0.51), made_up("collapse-noise", 1.5, 1.51, coverage=0.4)]
    holds = found("collapse", made_up("collapse-plain"), *remedies)
    assert holds.startswith("No: 0 of 2 plain runs had collapsed by epoch 35.")
    assert "Not reproduced: the source's collapse." in holds
    assert (
        'KID against "plain" (1.005): lower with "replay of old fakes" (0.505) and higher with "instance noise"'
        in holds
    )
    assert 'Collapsed with a remedy: "instance noise" (2 of 2).' in holds
    collapses = found("collapse", made_up("collapse-plain", coverage=0.3), *remedies)
    assert collapses.startswith("Yes: 2 of 2 plain runs had collapsed by epoch 35.")
    assert "Not reproduced" not in collapses


def test_findings_say_where_the_results_contradict_the_source() -> None:
    complete = found("digits", made_up("digits-gan", coverage=0.6), made_up("digits-dcgan", coverage=1.0))
    assert "Not reproduced: a DCGAN that loses classes. Here it covers 1.00 of them" in complete
    assert "the vanilla GAN 0.60, which contradicts it." in complete
    few = found("digits", made_up("digits-gan", coverage=0.6), made_up("digits-dcgan", coverage=0.3))
    assert "Not reproduced" not in few


def test_datasets_of_different_sizes_are_compared_by_images_seen() -> None:
    few, many = made_up("rgb-28-1000", epoch=5), made_up("rgb-28-3000", epoch=2)
    assert "Lowest images seen until recognisable: 28 px, 1,000 images (5,000)." in found("colour", few, many)
    long, short = made_up("latent-10", 0.5, 0.51), made_up("latent-10-short", 0.9, 0.91)
    others = made_up("latent-50", 0.7, 0.71), made_up("latent-50-short", 0.6, 0.61)
    latent = found("latent", long, short, *others)
    assert "Lowest KID: latent 10 (0.505)." in latent
    assert "Lowest KID: latent 50, short (0.605)." in latent
    assert "Not reproduced: that latent 50 is better than latent 10, as their KIDs are the other way round." in latent


def test_findings_on_diverged_or_missing_runs_have_no_figures() -> None:
    for experiment in EXPERIMENTS:
        for variant in experiment.variants:
            assert "nan" not in found(experiment.name, diverged(variant.name))
        assert "(0." not in found(experiment.name, *(diverged(variant.name) for variant in experiment.variants))


def test_every_figure_in_the_committed_findings_is_in_its_table() -> None:
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
