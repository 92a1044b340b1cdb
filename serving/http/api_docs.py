"""Documentation page: the OpenAPI document as plain HTML, without scripts or resources of other hosts."""

from collections.abc import Iterable
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid #8886; padding-top: 1rem; }
h2, code, pre { font-family: ui-monospace, monospace; }
pre { padding: .75rem; overflow-x: auto; background: #8882; border-radius: .25rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8883; }
"""
EXAMPLES = """\
curl --json '{"seeds": [7]}' -o seed-7.png http://127.0.0.1:3000/generate
curl --json '{"count": 16, "format": "zip"}' -o images.zip http://127.0.0.1:3000/generate
curl --json '{"seeds": [7, 8, 9], "loop": true}' -o morph.gif http://127.0.0.1:3000/interpolate
curl -o seed-7.png 'http://127.0.0.1:3000/images/7.png?size=256'"""


def docs_page(document: dict[str, Any]) -> str:
    """Render every operation of an OpenAPI document as an HTML page."""
    info = document["info"]
    operations = [
        _operation(method, path, operation, document["components"]["schemas"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} API, version {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        f'<p>For programs: <a href="openapi.json">openapi.json</a></p><pre>{escape(EXAMPLES)}</pre>'
        f"{''.join(operations)}</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    parts = [f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation['summary'])}.</p>"]
    if "description" in operation:
        parts.append(f"<p>{escape(operation['description'])}</p>")
    if "parameters" in operation:
        rows = [(f"<code>{each['name']}</code>", escape(each["description"])) for each in operation["parameters"]]
        parts.append(_table(("parameter", "description"), rows))
    if "requestBody" in operation:
        schema = schemas[operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]]
        fields = [
            (f"<code>{name}</code>", escape(field["description"])) for name, field in schema["properties"].items()
        ]
        parts.append(_table(("field of the JSON body", "description"), fields))
    responses = []
    for status, response in operation["responses"].items():
        headers = "".join(
            f"<br><code>{name}</code>: {escape(header['description'])}"
            for name, header in response.get("headers", {}).items()
        )
        responses.append(
            (status, escape(response["description"]) + headers, escape(", ".join(response.get("content", ()))))
        )
    parts.append(_table(("status", "meaning", "content"), responses))
    return "".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Render a table; cells are HTML."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>{body}</table>"
