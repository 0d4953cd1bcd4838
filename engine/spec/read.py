"""A spec as text: YAML or JSON in, YAML out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import yaml

from engine.errors import SpecError
from engine.spec.sweep import Sweep, parse_sweep


class _Once(yaml.SafeLoader):
    """Takes a key once. YAML and JSON forbid a second, but every common reader drops the first without a word."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Before `<<` puts in what is merged, here or, of a node that others merge, for good."""
        if id(node) not in self._looked_at:
            self._looked_at[id(node)] = node  # kept, so that no other gets its number
            self._check(node)
        super().flatten_mapping(node)

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._looked_at: dict[int, yaml.MappingNode] = {}

    def _check(self, node: yaml.MappingNode) -> None:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            # What `<<` brings in is there to be overridden.
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1
            if key in lines:
                raise _Twice(
                    f"line {line}: the key {key!r} is there twice, first in line {lines[key]}; keep one of them"
                )
            lines[key] = line


class _Twice(Exception):
    """A key that is there twice; the words are for the person who wrote it."""


def load_yaml(text: str, where: str) -> Any:
    """YAML or JSON as plain data, which holds no code; `where` names the text in the SpecError of a mistake."""
    try:
        return yaml.load(text, _Once)
    except _Twice as error:
        raise SpecError(f"{where}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        if mark is None or not problem:
            raise SpecError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
        raise SpecError(f"{where} is not YAML: line {mark.line + 1}, column {mark.column + 1}: {problem}") from None


DEEPEST = 30
"""Levels of nesting in a text that somebody sent."""


def load_plain_yaml(text: str, where: str) -> Any:
    """As `load_yaml`, for texts of anybody's: refuses what makes a short text long or deep, references within it and nesting."""
    depth = 0
    # Of broken YAML the reader tells.
    with contextlib.suppress(yaml.YAMLError, ValueError):
        for event in yaml.parse(text, yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent):
                raise SpecError(f"line {line}: *{event.anchor} refers to another place; write out what it stands for")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise SpecError(f"line {line}: nested more than {DEEPEST} deep")
    return load_yaml(text, where)


def read_sweep(path: Path, overrides: tuple[str, ...] = ()) -> Sweep:
    """A YAML (or JSON) file -> Sweep; `overrides` are KEY=VALUE with dotted keys. Raises SpecError."""
    try:
        value = load_yaml(path.read_text(), str(path))
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist; give the path of a spec file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from None
    for override in overrides:
        _override(value, override)
    return parse_sweep(value, path.resolve().parent)


def _override(value: Any, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise SpecError(f"--set {override!r} is not KEY=VALUE; write, say, --set seed=1")
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(value, dict) or not isinstance(value.setdefault(parent, {}), dict):
            raise SpecError(f"--set {key}: {parent!r} is not a mapping in this spec")
        value = value[parent]
    value[last] = load_yaml(text, f"--set {key}")


def stated_yaml(sweep: Sweep) -> str:
    """The spec as YAML, with no more stated than was: what it leaves open, a layout say, is the network's to decide."""
    stated = sweep.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(stated, sort_keys=False, allow_unicode=True)


def to_yaml(sweep: Sweep) -> str:
    """The spec as YAML that reads back as the same sweep."""
    return yaml.safe_dump(sweep.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
