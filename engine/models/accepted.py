"""What is known of an uploaded ONNX file since it was looked at: a server that only plans never reads such a file itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.paths import uploads_path

FACTS = "checked.json"
"""Beside the file."""


def accepted_facts(path: Path) -> dict[str, Any] | None:
    """What was found in a file when it was taken, as `engine/uploads/onnx_graph.py` has it; None for files that were not uploaded."""
    if path.parent.parent != uploads_path():
        return None
    try:
        found: dict[str, Any] = json.loads((path.parent / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
