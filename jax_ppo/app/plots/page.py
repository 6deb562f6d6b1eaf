"""Pages: text, tables and plots in one HTML file that needs no other file."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jax_ppo.app.plots.picture import Picture, write_png
from jax_ppo.app.runs import written_atomically

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em;
       color: #222 }
img { max-width: 100% }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .3em .8em; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
.wide { overflow-x: auto }
pre { background: #f6f6f6; padding: 1em; overflow-x: auto }
"""


def heading(text: str) -> str:
    """A section's title."""
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{html.escape(text)}</p>"


def preformatted(text: str) -> str:
    """Text that keeps its lines."""
    return f"<pre>{html.escape(text)}</pre>"


def bullets(items: Iterable[str]) -> str:
    """A list of plain texts."""
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    content = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table>{content}</table></div>'


def figures(folder: Path, pictures: Mapping[str, Picture]) -> list[str]:
    """Draw pictures, by name, into PNG files in a folder, and embed these."""
    return [_figure(folder / f"{name}.png", picture) for name, picture in pictures.items()]


def _figure(path: Path, picture: Picture) -> str:
    """One picture, drawn into a file and embedded."""
    write_png(picture, path)
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img alt="{html.escape(picture.title)}" src="data:image/png;base64,{data}"></p>'


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Write a page, atomically, of parts that the functions of this module return."""
    name = html.escape(title)
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{name}</title>'
        f"<style>{STYLE}</style></head><body><h1>{name}</h1>{''.join(parts)}</body></html>\n"
    )
    with written_atomically(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
