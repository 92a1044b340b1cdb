"""Names in CONTRIBUTING.md and docs/architecture.md, compared with the repository."""

import ast
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from tests.live_service import ROOT
from training import paths

PAGES = ("CONTRIBUTING.md", "docs/architecture.md")
LINK = re.compile(r"\[([^\]]+)\]\(([^)#:]+)(?:#[^)]*)?\)")
PATH = re.compile(r"[\w.-]*/[\w./*-]*|[\w-]+\.(?:py|md|yaml|toml|json|sh|lua)")
OUTPUTS = {
    str(path)
    for path in (paths.PREPARED, paths.GENERATOR_WEIGHTS, paths.RUNS, paths.CANDIDATE_MODEL, paths.CANDIDATE_METRICS)
}  # not in a fresh clone


def text(page: str) -> str:
    return (ROOT / page).read_text()


def code_spans(page: str) -> list[str]:
    """The inline code of a page, without code blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text(page), flags=re.DOTALL))


def code_blocks(page: str, language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text(page), re.DOTALL))


def exists(path: str) -> bool:
    return path.rstrip("/") in OUTPUTS or any(ROOT.glob(path.rstrip("/")))


def definitions(path: Path) -> set[str]:
    """The names that a module defines: functions, classes, Class.method, Class.field and constants."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        for each in _named(node):
            names.add(each)
            if isinstance(node, ast.ClassDef):
                names |= {f"{each}.{member}" for part in node.body for member in _named(part)}
    return names


def _named(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")), *PAGES])
def test_every_link_and_picture_leads_to_a_file(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text(page)):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_that_defines_the_linked_name(page: str) -> None:
    links = LINK.findall(text(page))
    assert links
    for label, target in links:
        path = (ROOT / page).parent / target
        assert path.exists(), target
        name = label.strip("`")
        if label.startswith("`") and path.suffix == ".py" and not name.endswith(".py"):
            assert name.removesuffix("()") in definitions(path), f"{target} does not define {name}"


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page: str) -> None:
    spans = [span for span in code_spans(page) if PATH.fullmatch(span) and not span.startswith("/")]
    drawn = PATH.findall(re.sub(r"<br/?>|\|", " ", code_blocks(page, "mermaid")))
    assert spans
    assert [path for path in [*spans, *drawn] if not exists(path)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_command_names_a_target_a_module_or_a_test_that_exists(page: str) -> None:
    makefile = text("Makefile")
    for line in [*code_blocks(page, "sh").splitlines(), *code_spans(page)]:
        words = shlex.split(line, comments=True) if line.startswith((".venv/bin/", "make ", "python ")) else []
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), line
        if "-m" in words and "python" in words[0]:
            assert importlib.util.find_spec(words[words.index("-m") + 1]), line
        for word in words[1:]:
            if word.startswith("tests/"):
                path, _, name = word.partition("::")
                assert (ROOT / path).exists(), line
                assert not name or name in definitions(ROOT / path), line
