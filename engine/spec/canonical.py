"""The one JSON text of a value, and its hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# Made once: a large plan hashes hundreds of thousands of values.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces; what is hashed."""
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """Full SHA-256, in hex, of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
