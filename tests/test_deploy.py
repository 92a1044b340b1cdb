"""The Grafana dashboard and the alerts of docs/serving.md, checked against /metrics of a running service."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.live_service import ROOT, LiveService, live_service

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "info": ("_info",)}
ADDED_BY_PROMETHEUS = {"job", "instance"}  # labels of the scrape
COLUMNS = 24
DEADLINE_S = 120

PAGE = (ROOT / "docs" / "serving.md").read_text()
(ALERTS_YAML,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
ALERTS: list[dict[str, Any]] = [rule for group in yaml.safe_load(ALERTS_YAML)["groups"] for rule in group["rules"]]

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "mint.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
VARIABLES: list[dict[str, Any]] = DASHBOARD["templating"]["list"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]

QUERIES = [(title, target["expr"]) for title, target in TARGETS] + [(rule["alert"], rule["expr"]) for rule in ALERTS]
LOOKUPS = [(each["name"], each["definition"]) for each in VARIABLES if each["type"] == "query"]


@pytest.fixture(scope="module")
def families(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Metric]]:
    """The metrics of a service after a valid request, an invalid one, a rejected model file and a lost model folder."""
    folder = tmp_path_factory.mktemp("models")
    model = Path(shutil.copy(model_path, folder))
    with live_service(model, tmp_path_factory.mktemp("service")) as service:
        assert service.client.post("/generate", json={"seeds": [7]}).status_code == 200
        assert service.client.post("/generate", json={"seeds": [-7]}).status_code == 400
        (folder / "broken.onnx").write_bytes(b"not a model")
        wait_for_metric(service, 'outcome="refused"')
        folder.rename(folder.with_name("elsewhere"))
        page = wait_for_metric(service, 'part="model folder"')
        yield list(text_string_to_metric_families(page))


def wait_for_metric(service: LiveService, text: str) -> str:
    """The first /metrics page that contains a text."""
    deadline = time.monotonic() + DEADLINE_S
    while text not in (page := service.client.get("/metrics").text):
        assert time.monotonic() < deadline, f"no {text} in {page}"
        time.sleep(0.05)
    return page


def metrics_in(expression: str) -> set[str]:
    """The names of the service's metrics in a PromQL expression."""
    return set(re.findall(r"\b(?:mint|process)_\w+", expression))


def labels_in(expression: str, legend: str = "") -> set[str]:
    """The labels that an expression groups by or selects, and those that its legend shows."""
    grouped = [label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")]
    selected = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression)
    return set(grouped) | set(selected) | set(re.findall(r"\{\{(\w+)\}\}", legend))


def series_names(families: list[Metric]) -> set[str]:
    """Every name that a query may use."""
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


def assert_labels_exist(expression: str, families: list[Metric], legend: str = "") -> None:
    used = labels_in(expression, legend) - ADDED_BY_PROMETHEUS
    for name in metrics_in(expression):
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        assert samples, f"the service exports no {name}"
        assert all(used <= set(sample.labels) for sample in samples), f"{name} has the labels {set(samples[0].labels)}"


@pytest.mark.parametrize(("title", "expression"), QUERIES + LOOKUPS)
def test_every_query_asks_for_metrics_that_the_service_exports(
    title: str, expression: str, families: list[Metric]
) -> None:
    assert metrics_in(expression)
    assert metrics_in(expression) <= series_names(families), title


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_every_label_of_a_panel_exists_on_its_metrics(
    title: str, target: dict[str, Any], families: list[Metric]
) -> None:
    assert_labels_exist(target["expr"], families, target["legendFormat"])


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_label_of_an_alert_exists_on_its_metrics(rule: dict[str, Any], families: list[Metric]) -> None:
    assert_labels_exist(rule["expr"], families)


@pytest.mark.parametrize(("title", "expression"), QUERIES)
def test_every_label_value_of_a_query_is_one_that_the_service_exports(
    title: str, expression: str, families: list[Metric]
) -> None:
    """A typo in route="/generate" is a panel without data. Statuses are left out: most of them need a fault."""
    values = {pair for family in families for sample in family.samples for pair in sample.labels.items()}
    for label, value in re.findall(r"(\w+)=\"([^\"$]+)\"", expression):
        assert label == "status" or (label, value) in values, title


@pytest.mark.parametrize(("title", "expression"), QUERIES)
def test_rates_are_of_counters_and_quantiles_of_histogram_buckets(
    title: str, expression: str, families: list[Metric]
) -> None:
    cumulative = {
        family.name + suffix
        for family in families
        if family.type in ("counter", "histogram")
        for suffix in SUFFIXES[family.type]
    }
    assert set(re.findall(r"\b(?:rate|increase)\((\w+)", expression)) == metrics_in(expression) & cumulative, title
    for quantile, grouped, name in re.findall(
        r"histogram_quantile\(([\d.]+), sum by \(([^)]*)\) \(rate\((\w+)", expression
    ):
        assert 0 < float(quantile) < 1
        assert "le" in grouped.split(", "), title
        assert name.endswith("_bucket"), title
    assert expression.count("histogram_quantile(") == len(re.findall(r"\bby \([^)]*\ble\b", expression)), title


def test_every_metric_of_the_service_is_on_the_dashboard(families: list[Metric]) -> None:
    shown = set().union(*(metrics_in(target["expr"]) for _, target in TARGETS))
    for family in families:
        if family.name.startswith("mint_") and not family.name.endswith("_created"):  # added by prometheus_client
            assert any(family.name + suffix in shown for suffix in SUFFIXES[family.type]), family.name


def test_every_metric_that_the_docs_name_is_exported(families: list[Metric]) -> None:
    assert metrics_in(PAGE)
    assert metrics_in(PAGE) <= series_names(families) | {family.name for family in families}


def test_alerts_use_the_fields_of_prometheus_rules() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert {"alert", "expr", "annotations"} <= rule.keys() <= {"alert", "expr", "for", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s")), rule["alert"]
        assert rule["annotations"]["summary"].endswith(".")


def test_panels_do_not_overlap_and_fit_the_width() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        position = panel["gridPos"]
        assert position["x"] + position["w"] <= COLUMNS, panel["title"]
        for x in range(position["x"], position["x"] + position["w"]):
            for y in range(position["y"], position["y"] + position["h"]):
                assert (x, y) not in taken, f"{panel['title']} overlaps {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_the_dashboard_uses_the_data_source_chosen_on_import_and_unique_panel_ids() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert [variable["name"] for variable in VARIABLES if variable["type"] == "datasource"] == ["datasource"]
    assert all(thing["datasource"] == chosen for thing in [*PANELS, *(target for _, target in TARGETS)])
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    used = {name for _, expression in QUERIES + LOOKUPS for name in re.findall(r"\$(\w+)", expression)}
    assert used - {"__rate_interval"} <= {variable["name"] for variable in VARIABLES}
