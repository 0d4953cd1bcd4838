"""README and docs/: every link leads somewhere on GitHub and on the site, and what comes from the code is what the code says."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import make_reference, make_site
from tests.helpers.documents import DOCUMENTS
from tests.helpers.places import ROOT

DOCS = ROOT / "docs"
PAGES = (*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md")
LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\[\]]*\](?:\([^)]*\))?)*\]\(([^)\s]+)\)")
"""A link or a picture; a picture within a link counts with the link's own address, the picture by `PICTURE`."""
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    """A page without its code, in which brackets are no links."""
    without_blocks = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "code", without_blocks)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them: small letters, no punctuation, a hyphen for a space."""
    blocks = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#{1,6} (.+)$", blocks, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    text = prose(page)
    wrong = []
    for address in {*LINK.findall(text), *PICTURE.findall(text)}:
        if re.match(r"(?:https?|mailto):", address):
            continue
        name, _, anchor = address.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(address)
        # The site has the pages and pictures of docs/ and nothing else.
        elif page.parent == DOCS and there.parent != DOCS:
            wrong.append(f"{address} is not on the site; write the path as code")
    assert not wrong


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda p: p.name)
def test_tables_and_lists_stand_apart_from_the_text(page: Path) -> None:
    """GitHub takes a line after a table for a row of it; the site takes a list right after a sentence for more of the sentence."""
    lines = ["", *prose(page).splitlines(), ""]
    wrong = []
    for before, line in itertools.pairwise(lines):
        begins = re.match(r"\|", line) and before and not before.startswith(("|", "<!--"))
        ends = re.match(r"\|", before) and line and not line.startswith("|")
        listed = re.match(r"(?:- |\d+\. )", line) and before and not re.match(r"(?:- |\d+\. |\s)", before)
        wrong += [line] if begins or ends or listed else []
    assert not wrong


def test_links_are_found_where_they_are(tmp_path: Path) -> None:
    """The check itself: links, pictures, a picture in a link, an anchor; none of code."""
    page = tmp_path / "a.md"
    page.write_text(
        "[a](b.md) ![p](c.png) [![i](d.png)](e.md#f) `[x](y.md)`\n```\n[z](z.md)\n```\n# What it’s for: 2 `x`\n"
    )
    text = prose(page)
    assert {*LINK.findall(text), *PICTURE.findall(text)} == {"b.md", "c.png", "d.png", "e.md#f"}
    assert anchors(page) == {"what-its-for-2-x"}


def test_the_site_is_built_without_a_broken_link(tmp_path: Path) -> None:
    said = make_site.build(tmp_path / "site")
    built = {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert {path.stem for path in DOCS.glob("*.md")} <= built, said
    assert (tmp_path / "site" / "explore.png").is_file()
    # What it has made it makes anew.
    (tmp_path / "site" / "stale.html").touch()
    make_site.build(tmp_path / "site")
    assert not (tmp_path / "site" / "stale.html").exists()


def test_no_folder_of_somebodys_own_is_emptied(tmp_path: Path) -> None:
    """By the command line, as a person would: one line, and all is as it was."""
    own = tmp_path / "thesis.txt"
    own.write_text("years of work")
    for folder in (tmp_path, own):
        done = subprocess.run(
            [sys.executable, str(DOCS / "make_site.py"), str(folder)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert f"{folder} is not empty and was not made by docs/make_site.py" in done.stderr
    assert own.read_text() == "years of work"


def test_a_broken_link_fails_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_site, "DOCS", tmp_path)
    (tmp_path / "index.md").write_text("# Home\n\n[there](tutorial.md#not-there)\n")
    (tmp_path / "tutorial.md").write_text("# Tutorial\n")
    with pytest.raises(RuntimeError, match="anchor does not exist"):
        make_site.build(tmp_path / "site")
    (tmp_path / "stray.md").write_text("# Stray\n")
    with pytest.raises(ValueError, match="stray is in no section"):
        make_site.build(tmp_path / "site")


@pytest.mark.parametrize("name", ["reference-commands", "reference-spec"])
def test_the_references_are_what_the_code_gives(name: str) -> None:
    made = make_reference.commands_page() if name == "reference-commands" else make_reference.spec_page()
    assert (DOCS / f"{name}.md").read_text() == made, "run `python docs/make_reference.py`"


def test_every_key_of_a_spec_has_a_meaning_and_no_other() -> None:
    meanings = make_reference.meanings()
    for section, (_, kind) in make_reference.SECTIONS.items():
        also = set(make_reference.IN_A_SPACE) if section == "prune" else set()
        assert set(meanings[section]) == {*kind.model_fields, *also} - {"step"}, section
    assert set(meanings) == set(make_reference.SECTIONS)


def test_every_option_has_a_meaning() -> None:
    lines = [line for line in make_reference.commands_page().splitlines() if line.startswith("| `")]
    assert len(lines) > 100
    assert [line for line in lines if line.endswith("|  |")] == []
