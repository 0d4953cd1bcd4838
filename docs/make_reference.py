"""Writes the two references that come from the code: every command with its options, every key of a spec.

    PYTHONPATH=. .venv/bin/python docs/make_reference.py

Writes docs/reference-commands.md and docs/reference-spec.md; tests/test_documents.py compares them with what this gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer
import yaml

from engine.cli.commands import app
from engine.spec.frozen import Frozen
from engine.spec.goals import Search, Target
from engine.spec.metric import BUILT_IN, MetricChoice
from engine.spec.sections import Data, LatencyOptions, Measure, Model, Preprocess
from engine.spec.steps import FAMILIES, Finetune
from engine.spec.sweep import Sweep

DOCS = Path(__file__).resolve().parent
MADE = "<!-- Made by docs/make_reference.py from the code; change it there. -->\n"
SECTIONS: dict[str, tuple[str, type[Frozen]]] = {
    "sweep": ("The whole", Sweep),
    "model": ("model", Model),
    "data": ("data", Data),
    "preprocess": ("data.preprocess", Preprocess),
    "metric": ("metric", MetricChoice),
    "measure": ("measure", Measure),
    "latency": ("measure.latency", LatencyOptions),
    "search": ("search", Search),
    "target": ("target", Target),
    **{name: (f"space.{name}", kind) for name, kind in FAMILIES.items()},
}
WRITTEN = {
    ("quantize", "layers"): "a mapping",
    ("model", "state"): "a mapping or a list of text",
    ("model", "outputs"): "a list of names or numbers",
}
"""Keys that are written in another form than they are kept in."""
_TRAINED = Finetune.model_fields
IN_A_SPACE = {
    "finetune_epochs": ("whole number", "`0`"),
    "finetune_samples": ("whole number", "–"),
    "finetune_learning_rate": ("number", f"`{_TRAINED['learning_rate'].default}`"),
    "finetune_augment": ("`none`, `mirror`, `shift`", "`none`"),
    "rounds": ("whole number 1 to 100", "`1`"),
}
"""Keys of `space.prune` that become steps of their own, which `engine/spec/space.py` reads."""


def commands_page() -> str:
    """Every command: what it does, how it is called, each argument and option with its default and meaning."""
    group: Any = typer.main.get_command(app)
    parts = [
        f"# Every command\n\n{MADE}\n`paretoscope COMMAND --help` prints the same in a terminal. [The command line](command-line.md) says "
        "what the commands are for.\n",
        "| option of `paretoscope` itself | meaning |\n|---|---|",
        *(f"| {_names(p)} | {_cell(p.help)} |" for p in group.params if not p.hidden),
        "",
    ]
    for path, command in _commands(group, ("paretoscope",)):
        parts += [f"## {' '.join(path[1:])}\n", f"{_cell(command.help)}\n"]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join([*path, *(_placeholder(p) for p in arguments), "[OPTIONS]"])
        parts += [f"`{usage}`\n", "| | default | meaning |", "|---|---|---|"]
        shown = [p for p in command.params if not p.hidden]
        parts += [f"| {_names(p)} | {_default(p)} | {_cell(p.help)}{_bounds(p)} |" for p in shown]
        parts.append("")
    return "\n".join(parts).rstrip("\n") + "\n"


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command of a group, and of the groups within it, with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        elif not command.hidden:
            yield (*path, name), command


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _placeholder(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag:
        return names
    value = parameter.metavar or re.sub(r"[^A-Z]", "", _kind(parameter).upper())
    return f"{names} `{value}`"


def _kind(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    return getattr(get_args(annotation)[0] if get_args(annotation) else annotation, "__name__", "text").replace(
        "str", "text"
    )


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.multiple:
        return "none; may be repeated"
    if parameter.default in (None, "", []):
        return "–"
    return ("on" if parameter.default else "off") if parameter.is_flag else f"`{parameter.default}`"


def _bounds(parameter: Any) -> str:
    low, high = parameter.min, parameter.max
    if low is None and high is None:
        return ""
    return (
        f" {low} to {high}."
        if None not in (low, high)
        else f" At least {low}."
        if high is None
        else f" At most {high}."
    )


def meanings() -> dict[str, dict[str, str]]:
    """Section of a spec -> key -> what it means, as docs/spec_meanings.yaml has them."""
    return yaml.safe_load((DOCS / "spec_meanings.yaml").read_text())


def spec_page() -> str:
    """Every key of a spec: values, default, meaning; then what methods fill in."""
    told = meanings()
    parts = [
        f"# Every key of a spec\n\n{MADE}\n[A spec](spec.md) explains them with examples. A key that is not here is refused.\n"
    ]
    for section, (title, kind) in SECTIONS.items():
        schema = kind.model_json_schema()
        parts += [f"## {title}\n", "| key | values | default | meaning |", "|---|---|---|---|"]
        for key, field in schema["properties"].items():
            if key != "step":
                required = key in schema.get("required", ())
                default = "required" if required else _shown(field.get("default"))
                parts.append(
                    f"| `{key}` | {WRITTEN.get((section, key)) or _values(field, schema)} | {default} | {_cell(told[section][key])} |"
                )
        if section == "prune":
            parts += [f"| `{k}` | {v} | {d} | {_cell(told[section][k])} |" for k, (v, d) in IN_A_SPACE.items()]
        parts.append("")
        parts += _by_method(section, kind)
        if section == "metric":
            parts += ["| built-in metric | what it is | unit | better | task |", "|---|---|---|---|---|"]
            parts += [
                f"| `{name}` | {m.title} | {m.unit or '–'} | {'more' if m.better == 'max' else 'less'} | {m.task} |"
                for name, m in BUILT_IN.items()
            ]
            parts.append("")
    return "\n".join(parts).rstrip("\n") + "\n"


def _shown(default: Any) -> str:
    if default in (None, [], {}, ()):
        return "–"
    if isinstance(default, dict):
        return "as below"
    if isinstance(default, list):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _values(field: dict[str, Any], whole: dict[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "$ref" in field:
        return "a mapping, below"
    if options := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(dict.fromkeys(_values(o, whole) for o in options if o.get("type") != "null"))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type")
    if kind in ("integer", "number"):
        return ("whole number" if kind == "integer" else "number") + _range(field)
    if kind == "array":
        items = field.get("items") or {}
        return "a list of " + ("recipes" if "items" in items else _LISTED.get(str(items.get("type")), "values"))
    return {"boolean": "`true`, `false`", "string": "text", "object": "a mapping"}.get(str(kind), "any")


_LISTED = {"string": "text", "number": "numbers"}


def _range(field: dict[str, Any]) -> str:
    low, above = field.get("minimum"), field.get("exclusiveMinimum")
    high, below = field.get("maximum"), field.get("exclusiveMaximum")
    begin = f" from {_plain(low)}" if low is not None else f" above {_plain(above)}" if above is not None else ""
    end = f" to {_plain(high)}" if high is not None else f" below {_plain(below)}" if below is not None else ""
    return begin + end


def _plain(number: float) -> str:
    return f"{number:.0f}" if number == round(number) else str(number)


def _by_method(section: str, kind: type[Frozen]) -> list[str]:
    """What the methods of a step fill in where nothing is said, beside the defaults of the table."""
    if section not in ("prune", "quantize"):
        return []
    least: dict[str, Any] = {"ratio": 0.5} if section == "prune" else {"weight_bits": 4, "activation_bits": 8}
    of_method = {"prune": {"nm": {}}, "quantize": {"dynamic": {}, "block": {}}}[section]
    rows = []
    for method in kind.model_json_schema()["properties"]["method"]["enum"]:
        given = of_method.get(method, least)
        step = kind.model_validate({"method": method, **given})
        filled = {
            name: value
            for name, value in step.model_dump().items()
            if name not in (*given, "step", "method", "ends_8bit") and value != kind.model_fields[name].default
        }
        if filled:
            rows.append(
                f"| `{method}` | {', '.join(f'`{name}: {str(v).lower() if isinstance(v, bool) else v}`' for name, v in filled.items())} |"
            )
    return ["| method | fills in |", "|---|---|", *rows, ""]


def main() -> None:
    """Write both."""
    (DOCS / "reference-commands.md").write_text(commands_page())
    (DOCS / "reference-spec.md").write_text(spec_page())


if __name__ == "__main__":
    main()
