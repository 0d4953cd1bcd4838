"""The code in README and the pages of docs/: blocks with the mark before them that says which test runs them, or why none does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.places import ROOT

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A block of code. `mark` is the comment on the line before it, empty where there is none."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def run_by(self) -> str | None:
        """The test file that runs it, as the mark says."""
        found = re.search(r"run by (tests/\S+\.py)$", self.mark)
        return found[1] if found else None

    @property
    def why_not(self) -> str | None:
        """Why no test runs it, as the mark says."""
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else None

    @property
    def file(self) -> str | None:
        """What the file is called that it is the text of."""
        found = re.match(r"file: ([^,\s]+)", self.mark)
        return found[1] if found else None


def blocks(page: Path) -> Iterator[Block]:
    """Every block of a page, from top to bottom."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        yield Block(
            page, text[: found.start("language")].count("\n") + 1, found["language"], found["text"], found["mark"] or ""
        )


def said_in_passing(page: Path) -> list[str]:
    """The commands that stand as code within a sentence or a table."""
    without_blocks = _BLOCK.sub("", page.read_text())
    return re.findall(r"`(paretoscope [^`]+)`", " ".join(without_blocks.split()))
