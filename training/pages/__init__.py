"""HTML pages of reports: the jinja environment and the layout that all of them share.

A page refers to no other host; it is light or dark as the reader's system is. Its template starts
with `{% extends "page.html.j2" %}`.
"""

import base64
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

LAYOUT = Path(__file__).parent / "templates"


def environment(templates: Path) -> Environment:
    """Jinja environment of a folder of templates and the layout; only HTML is escaped."""
    environment = Environment(
        loader=FileSystemLoader([templates, LAYOUT]),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["inline_code"] = inline_code
    return environment


def inline_code(text: str) -> Markup:
    """Escape text for HTML, with `code` as <code>."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def data_url(content: bytes, media_type: str) -> str:
    """Data URL of a file, for a page that must be a single one."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
