"""What the site needs beyond the files in docs/: pages that stand elsewhere, and links that lead to them.

Links are written for readers of a checkout, where `../jobs/README.md` is a file. In the site, jobs, the
security policy, the changelog and the schemas have places of their own, and such links are turned to these.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]

_LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?(?=\))")
_FROM_ELSEWHERE = re.compile(
    r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>"
)


def _places() -> dict[str, str]:
    """Where files that are not in docs/ stand in the site, by their paths in the repository."""
    jobs = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("jobs/**/README.md"))]
    return {
        **{path: path for path in jobs},
        "SECURITY.md": "security.md",
        "CHANGELOG.md": "changelog.md",
        "cascade_batch/schemas/job.json": "schemas/job.json",
        "cascade_batch/schemas/tiers.json": "schemas/tiers.json",
    }


_PLACES = _places()
_SOURCES = {place: path for path, place in _PLACES.items()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that stand elsewhere in the repository."""
    for path, place in _PLACES.items():
        content = (ROOT / path).read_text("utf-8")
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # from mkdocs
    """Turn links between files of the repository to links between pages of the site."""
    here = page.file.src_uri
    folder = posixpath.dirname(_SOURCES.get(here, f"docs/{here}"))

    def turned(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[2]))
        place = _PLACES.get(path, path.removeprefix("docs/"))
        if place == path:  # no page of the site; mkdocs says so
            return found[0]
        shown = posixpath.relpath(place, posixpath.dirname(here) or ".")
        return f"{found[1]}{shown}{found[3] or ''}"

    return _LINK.sub(turned, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001  # from mkdocs
    """Refuse a page that would load something from elsewhere: who reads is nobody's business."""
    if found := _FROM_ELSEWHERE.search(output):
        raise PluginError(f"{page.file.src_uri} loads something from elsewhere: {found[0]}")
    return output
