"""For mkdocstrings: docstrings are plain text, so what Markdown would take for marks is escaped."""

import re
from typing import Any

import griffe

MARK = re.compile(r"\*(?!\*?\w+: )|[\[<]|(?<!\w)_|_(?!\w)")
"""What Markdown takes for emphasis, a link or HTML; not the stars of an argument `**parts: `."""

EQUATION = re.compile(r"\n(?=[ ]*[A-Za-z][\w']*(?:\([^)]*\))? = )")
"""The end of a line before one that starts with `name = `."""


class PlainText(griffe.Extension):
    """Docstrings as they were written, with each equation on a line of its own."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The text with marks escaped outside code, and lines broken before equations."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [MARK.sub(r"\\\g<0>", part) for part in parts[::2]]
    return EQUATION.sub("  \n", "".join(parts))
