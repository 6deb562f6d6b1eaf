"""Pages: text, tables and interactive pictures in one HTML file that needs nothing else."""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jax_ppo.app.pictures.picture import Picture
from jax_ppo.app.pictures.png import write_png
from jax_ppo.app.runs import written_whole

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em;
       color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .3em .8em; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
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
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def figures(folder: Path, pictures: Mapping[str, Picture]) -> list[str]:
    """Pictures that can be zoomed and asked for their numbers; as PNG files too.

    Args:
        folder: Where the PNG files go.
        pictures: By the name of the file, without its ending.
    """
    # Plotly is loaded where a page is made: every other command starts sooner without it.
    from jax_ppo.app.pictures.interactive import make_figure

    for name, picture in pictures.items():
        write_png(picture, folder / f"{name}.png")
    return [
        str(make_figure(picture).to_html(full_html=False, include_plotlyjs=False))
        for picture in pictures.values()
    ]


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Write a page, whole or not at all.

    Args:
        path: Where; an older file is replaced.
        title: Title of the page.
        parts: What the functions of this module return, from top to bottom.
    """
    from plotly.offline import get_plotlyjs

    name = html.escape(title)
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script></head>"
        f"<body><h1>{name}</h1>{''.join(parts)}</body></html>\n"
    )
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
