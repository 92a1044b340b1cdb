"""The report as one HTML page: no script, nothing from anywhere else, light or dark as the reader has it."""

import re
from collections.abc import Mapping
from html import escape

from benchmarks.experiments.chart import variant_svg
from benchmarks.experiments.content import Figure, Report, ReportSection, Table
from benchmarks.experiments.files import NO_SHEET, sheet_alt, sheet_path

STYLE = """
:root { color-scheme: light dark;
  --text: #1c1c1e; --back: #fff; --line: #d8d8dc; --shade: #f5f5f7; --quiet: #5c5c61; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8ea; --back: #161618; --line: #3a3a3d; --shade: #212124; --quiet: #a5a5aa; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem 1rem 4rem; background: var(--back); color: var(--text);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { line-height: 1.2; } h3 { margin: 1.6rem 0 .2rem; font-size: 1rem; }
h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
p, dd { max-width: 46rem; } dt { font-weight: 600; margin-top: .8rem; } dd { margin: 0; }
.question { font-style: italic; color: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; } th:first-child, td:first-child { text-align: left; }
tbody th { font-weight: 400; white-space: nowrap; } tbody tr:nth-child(even) { background: var(--shade); }
details { margin: .6rem 0; border: 1px solid var(--line); border-radius: 6px; padding: .4rem .8rem; }
summary { cursor: pointer; } figure { margin: .4rem 0; } figcaption { color: var(--quiet); font-size: .85rem; }
img { max-width: 100%; height: auto; image-rendering: pixelated; } svg { max-width: 100%; height: auto; }
nav a { margin-right: 1rem; } a { color: inherit; }
code { background: var(--shade); padding: .1em .3em; border-radius: 3px; }
"""

Sides = Mapping[str, tuple[int, int]]  # width and height in pixels of every sheet, by its path


def render(report: Report, sides: Sides) -> str:
    """The whole page."""
    links = "".join(f'<a href="#{section.name}">{escape(section.title)}</a> ' for section in report.sections)
    notes = "".join(f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in report.notes)
    body = "\n".join(
        [
            f"<h1>{escape(report.title)}</h1>",
            *(f"<p>{_marked(text)}</p>" for text in report.paragraphs),
            f"<nav>{links}</nav>",
            *(_section(section, sides) for section in report.sections),
            f"<h2>What the figures mean</h2><dl>{notes}</dl>",
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _section(section: ReportSection, sides: Sides) -> str:
    paragraphs = "".join(f"<p><b>{escape(lead)}.</b> {_marked(text)}</p>" for lead, text in section.paragraphs)
    figures = "\n".join(_figure(figure, sides) for figure in section.figures)
    return (
        f'<section id="{section.name}"><h2>{escape(section.title)}</h2>'
        f'<p class="question">{escape(section.question)}</p>{paragraphs}{_table(section.table)}\n{figures}</section>'
    )


def _table(table: Table) -> str:
    header = "".join(f'<th scope="col">{escape(title)}</th>' for title in table.header)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    return f'<div class="scroll"><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>'


def _figure(figure: Figure, sides: Sides) -> str:
    """The last sheet in sight, and how it came to that behind a click."""
    sheets = [_sheet(figure, epoch, sides) for epoch in figure.result.sheet_epochs]
    before, last = sheets[:-1], sheets[-1] if sheets else f"<p>{NO_SHEET}</p>"
    curves = variant_svg(figure.result, escape(figure.label), standalone=False)
    return (
        f"<h3>{escape(figure.label)}</h3>{last}"
        f"<details><summary>curves, and sheets of earlier epochs</summary>{curves}{''.join(before)}</details>"
    )


def _sheet(figure: Figure, epoch: int, sides: Sides) -> str:
    path = str(sheet_path(figure.result.name, epoch))
    width, height = sides[path]
    return (
        f'<figure><img src="{path}" alt="{escape(sheet_alt(figure, epoch))}" width="{width}" height="{height}" '
        f'loading="lazy"><figcaption>epoch {epoch}</figcaption></figure>'
    )


def _marked(text: str) -> str:
    """Text with `code` as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
