"""The dashboard and the operator's page speak of what the service measures, and of nothing that it does not."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.live_service import ROOT
from tests.serving.conftest import serve_model

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "info": ("_info",)}
FROM_PROMETHEUS = {"job", "instance", "le"}  # labels that are not the service's
COLUMNS = 24

PAGE = (ROOT / "docs" / "serving.md").read_text()

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "mint.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
VARIABLES: list[dict[str, Any]] = DASHBOARD["templating"]["list"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [(title, target["expr"]) for title, target in TARGETS] + [
    (variable["name"], variable["definition"]) for variable in VARIABLES if variable["type"] == "query"
]


@pytest.fixture(scope="module")
def metrics(model_path: Path) -> Iterator[str]:
    """/metrics of the app after a request that was answered and one that was refused."""
    with contextmanager(serve_model)(model_path) as call:
        assert call("POST", "/generate", json={"seeds": [7]}).status_code == 200
        assert call("POST", "/generate", json={"seeds": [-7]}).status_code == 400
        yield call("GET", "/metrics").text


def names_in(expression: str) -> set[str]:
    """The metrics of an expression."""
    return set(re.findall(r"\b(?:mint|process)_\w+", expression))


def labels_in(expression: str, legend: str = "") -> set[str]:
    """The labels that an expression groups by or selects, and those that its legend shows."""
    grouped = [label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")]
    selected = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression)
    return set(grouped) | set(selected) | set(re.findall(r"\{\{(\w+)\}\}", legend))


def measured(metrics: str) -> set[str]:
    """Every name that a query may use, whether or not it has a value yet."""
    families = list(text_string_to_metric_families(metrics))
    return {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ("",))}


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_every_metric_of_the_dashboard_is_measured(title: str, expression: str, metrics: str) -> None:
    assert names_in(expression)
    assert names_in(expression) <= measured(metrics), title


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_every_label_of_the_dashboard_is_one_of_its_metric(title: str, target: dict[str, Any], metrics: str) -> None:
    samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    used = labels_in(target["expr"], target["legendFormat"]) - FROM_PROMETHEUS
    for name in names_in(target["expr"]):
        known = [set(sample.labels) for sample in samples if sample.name == name]
        assert all(used <= labels for labels in known), f"{title}: {name} has the labels {known[0]}"


def test_every_metric_of_the_service_is_on_the_dashboard(metrics: str) -> None:
    shown = set().union(*(names_in(expression) for _, expression in EXPRESSIONS))
    for family in text_string_to_metric_families(metrics):
        if family.name.startswith("mint_") and not family.name.endswith("_created"):  # the library's own
            assert any(family.name + suffix in shown for suffix in SUFFIXES[family.type]), family.name


def test_every_metric_of_the_operators_page_is_measured(metrics: str) -> None:
    families = {family.name for family in text_string_to_metric_families(metrics)}
    assert names_in(PAGE)
    assert names_in(PAGE) <= measured(metrics) | families


def test_the_alerts_of_the_operators_page_are_rules_of_prometheus() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (group,) = yaml.safe_load(block)["groups"]
    assert len(group["rules"]) >= 5
    for rule in group["rules"]:
        assert rule.keys() <= {"alert", "expr", "for", "annotations"}
        assert rule["annotations"]["summary"].endswith(".")
        assert names_in(rule["expr"])
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_panels_do_not_overlap_and_fit_the_width() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_the_dashboard_can_be_imported_beside_any_prometheus() -> None:
    """Every query asks the data source that the reader chooses, and no id stands twice."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert [variable["name"] for variable in VARIABLES if variable["type"] == "datasource"] == ["datasource"]
    assert all(thing["datasource"] == chosen for thing in [*PANELS, *(target for _, target in TARGETS)])
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    variables = {variable["name"] for variable in VARIABLES}
    used = {name for _, expression in EXPRESSIONS for name in re.findall(r"\$(\w+)", expression)}
    assert used - {"__rate_interval"} <= variables
