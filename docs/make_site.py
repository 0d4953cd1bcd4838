"""Builds the site of docs/*.md in a folder, `site` if none is named; broken links and anchors are errors.

    PYTHONPATH=. .venv/bin/python docs/make_site.py [FOLDER]

A folder that is there is emptied before, if it is empty or was made by this; any other is refused.
Needs the extra `docs` (Zensical). The pages are read on GitHub too, so they link to each other by their files' names.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
NAVIGATION: dict[str, tuple[str, ...]] = {
    "Start": ("index", "tutorial", "bring-your-own", "python"),
    "Measure and choose": ("choosing", "explore", "numbers", "devices", "results"),
    "Take it further": ("exports", "exports-tflite", "gate", "serving", "measured-elsewhere", "interchange"),
    "Run it": ("scaling", "runtimes", "operations"),
    "Look it up": ("command-line", "reference-commands", "spec", "reference-spec", "limits", "decisions"),
}
"""Section -> pages, in order. A page that is not there is left out; one that is there and not here is an error."""

MARKER = ".made-by-paretoscope"
"""The file by which a folder is known to have been made here, so that nobody's own is emptied."""

CONFIG = """\
[project]
site_name = "Paretoscope"
site_description = "Which compressed version of my model should I ship?"
docs_dir = "docs"
site_dir = "site"
use_directory_urls = false
extra_css = ["site.css"]
nav = {nav}

[project.theme]
language = "en"
font = false
features = ["content.code.copy", "navigation.footer", "navigation.sections", "navigation.top", "search.highlight", "toc.follow"]
icon.logo = "lucide/chart-scatter"

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
primary = "indigo"
toggle.icon = "lucide/sun"
toggle.name = "Switch to dark mode"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
primary = "indigo"
toggle.icon = "lucide/moon"
toggle.name = "Switch to light mode"

[project.markdown_extensions]
attr_list = {{}}
toc.permalink = true
pymdownx.highlight.pygments_lang_class = true
pymdownx.superfences = {{}}
"""


def title(page: Path) -> str:
    """The first heading of a page."""
    found = re.search(r"^# (.+)$", page.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{page} has no heading; begin it with one")
    return found[1]


def build(folder: Path) -> str:
    """Write the site into `folder`, which is emptied before, and give what the generator said.

    Raises FileExistsError for a folder that is neither empty nor one that this has made, ValueError for a page that is in no section,
    RuntimeError with the generator's words for a broken link or anchor.
    """
    if folder.exists() and not _is_ours(folder):
        raise FileExistsError(
            f"{folder} is not empty and was not made by docs/make_site.py, which empties it first; name a new folder"
        )
    listed = [page for pages in NAVIGATION.values() for page in pages]
    if lost := sorted({p.stem for p in DOCS.glob("*.md")} - set(listed)):
        raise ValueError(f"{', '.join(lost)} is in no section; add it to NAVIGATION in docs/make_site.py")
    nav = [
        {section: [{title(path): path.name} for page in pages if (path := DOCS / f"{page}.md").is_file()]}
        for section, pages in NAVIGATION.items()
    ]
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "docs"
        source.mkdir()
        for path in (*DOCS.glob("*.md"), *DOCS.glob("*.png"), *DOCS.glob("*.css")):
            shutil.copy2(path, source)
        config = Path(place) / "zensical.toml"
        config.write_text(CONFIG.format(nav=_toml(nav)))
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(config)]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).split("Traceback")[0]
        if done.returncode != 0:
            raise RuntimeError(said)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(Path(place) / "site", folder)
        (folder / MARKER).touch()
    return said


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and ((folder / MARKER).is_file() or not any(folder.iterdir()))


def _toml(nav: list[dict[str, list[dict[str, str]]]]) -> str:
    """Inline tables; a JSON string is a TOML string."""
    sections = []
    for section in nav:
        for name, pages in section.items():
            inner = ", ".join(
                f"{{ {json.dumps(t, ensure_ascii=False)} = {json.dumps(f)} }}" for p in pages for t, f in p.items()
            )
            sections.append(f"{{ {json.dumps(name)} = [{inner}] }}")
    return f"[{', '.join(sections)}]"


def main() -> None:
    """Build it where the command line says."""
    reader = argparse.ArgumentParser(description="Builds the site of docs/*.md; broken links and anchors are errors.")
    reader.add_argument(
        "folder", nargs="?", type=Path, default=DOCS.parent / "site", help="where, emptied before; default: site/"
    )
    folder = reader.parse_args().folder
    try:
        build(folder)
    except FileExistsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except (ValueError, RuntimeError) as error:
        sys.exit(str(error))
    sys.stdout.write(f"{folder / 'index.html'}\n")


if __name__ == "__main__":
    main()
