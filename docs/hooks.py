"""For mkdocs: links to files of the repository that are not pages of the site become text."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)\s#]*)[^)\s]*\)")
"""[label](../target)."""


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """The page with links that would lead out of the site replaced by what they say and where."""
    folder = PurePosixPath(page.file.src_uri).parent
    docs = Path(config.docs_dir)

    def text_of(match: re.Match[str]) -> str:
        label, target = match.groups()
        path = normpath(str(folder / target))
        if not path.startswith("../"):
            return match[0]
        name = (docs / path).resolve().relative_to(docs.parent).as_posix()
        return label if label.strip("`") in name else f"{label} (`{name}`)"

    return LINK.sub(text_of, markdown)
