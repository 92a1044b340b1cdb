"""The report as Markdown."""

from benchmarks.experiments.content import Figure, Report, ReportSection, Table
from benchmarks.experiments.files import NO_SHEET, curve_path, sheet_alt, sheet_path


def render(report: Report) -> str:
    """The whole report, with its pictures beside it."""
    lines = [f"# {report.title}", ""]
    for text in report.paragraphs:
        lines += [text, ""]
    for section in report.sections:
        lines += _section(section)
    lines += ["## What the figures mean", ""]
    lines += [f"- **{term}.** {meaning}" for term, meaning in report.notes]
    return "\n".join(lines) + "\n"


def _section(section: ReportSection) -> list[str]:
    lines = [f"## {section.title}", "", f"*{section.question}*", ""]
    for lead, text in section.paragraphs:
        lines += [f"**{lead}.** {text}", ""]
    lines += [*_table(section.table), ""]
    for figure in section.figures:
        lines += _figure(figure)
    return lines


def _table(table: Table) -> list[str]:
    rule = [":--", *("--:" for _ in table.header[1:])]
    return [f"| {' | '.join(row)} |" for row in (table.header, rule, *table.rows)]


def _figure(figure: Figure) -> list[str]:
    """The last sheet in sight, and how it came to that behind a click."""
    sheets = [
        [f"Epoch {epoch}", "", f"![{sheet_alt(figure, epoch)}]({sheet_path(figure.result.name, epoch)})", ""]
        for epoch in figure.result.sheet_epochs
    ]
    before, last = sheets[:-1], sheets[-1:] or [[NO_SHEET, ""]]
    curves = f"![Curves of {figure.label}]({curve_path(figure.result.name)})"
    hidden = [line for sheet in before for line in sheet]
    summary = "<summary>curves, and sheets of earlier epochs</summary>"
    return [f"### {figure.label}", "", *last[0], "<details>", summary, "", curves, "", *hidden, "</details>", ""]
