"""MkDocs hooks: README.md is the home page, linked files of the repository join the site, and API
pages show the fields of NamedTuples.
"""

import pathlib
import re
from typing import Any

from griffe import Class, Extension
from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).parent.parent
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def _linked(page: pathlib.Path) -> set[pathlib.Path]:
    """Files outside docs/ that a page links to, and those that they link to."""
    found: set[pathlib.Path] = set()
    new = {page}
    while new:
        targets = {
            (p.parent / target).resolve() for p in new for target in LINK.findall(p.read_text())
        }
        files = {t for t in targets if t.is_file() and ROOT / "docs" not in t.parents} - found
        found |= files
        new = {t for t in files if t.suffix == ".md"}
    return found - {ROOT / "README.md"}


def on_files(files: Files, config: Any) -> Files:
    home = (ROOT / "README.md").read_text().replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=home))
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for path in sorted(set().union(*map(_linked, pages))):
        uri = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """In pages of docs/, links out of it lead to the copies in the site."""
    return markdown.replace("](../", "](") if "/" not in page.file.src_uri else markdown


class Fields(Extension):
    """Adds the fields of a NamedTuple, with their comments, to its docstring."""

    def on_class_members(self, *, cls: Class, **_: Any) -> None:
        if cls.docstring and "NamedTuple" in map(str, cls.bases):
            fields = [f for f in cls.attributes.values() if "property" not in f.labels]
            source = "\n".join(line.strip() for field in fields for line in field.lines)
            cls.docstring.value += f"\n\n```python\n{source}\n```"
