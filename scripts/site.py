"""A hook of MkDocs: links to files outside the documents' folder become text, and must exist."""

import logging
import os
import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s:#]+)[^)\s:]*\)")
_log = logging.getLogger("mkdocs.hooks.site")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Return *markdown* without links that MkDocs cannot follow."""
    folder = (Path(config["docs_dir"]) / page.file.src_path).parent

    def followed(link: re.Match[str]) -> str:
        path = Path(os.path.normpath(folder / link[2]))
        if not path.exists():
            _log.warning("%s links to %s, which does not exist", page.file.src_path, link[2])
        inside = path.is_relative_to(config["docs_dir"]) and path.is_file()
        return link[0] if inside else link[1]

    return _LINK.sub(followed, markdown)
