"""Names that people give: of added files, imported points and boards. They stand in tables, charts and addresses as they are."""

from __future__ import annotations

from engine.spec.steps import _MARKUP, Imported
from engine.spec.validation import validated


def checked_name(name: str, where: str) -> str:
    """The name, where it is one: one line of 1 to 100 characters without markup. Raises SpecError, which begins with `where`."""
    validated(Imported, {"name": name, "sha256": "0" * 64}, where)
    return name


def fitting_name(text: str) -> str:
    """A name made of what a program calls something: what cannot stand in one becomes a space, and it is cut where it is too long."""
    kept = "".join(" " if c in _MARKUP or not c.isprintable() else c for c in text)
    return " ".join(kept.split())[:100].strip() or "unnamed"
