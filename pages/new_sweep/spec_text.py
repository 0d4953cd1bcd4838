"""A spec as text, and what of it the form can show. Nothing of streamlit here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from engine.errors import SpecError
from engine.models.catalog import zoo_names
from engine.spec.goals import Screen
from engine.spec.read import load_plain_yaml
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.spec.steps import PARTS, SELF, Distill, Finetune, Prune, Quantize, usual_qat_rate
from engine.spec.sweep import Sweep, parse_sweep
from pages.new_sweep import reading
from pages.new_sweep.draft import ALL, AS_IT_IS, BOUNDS, MATRICES, SWITCH, Draft, quantization_name, to_spec

LONGEST = 50_000
"""Characters of a text. The spec of a sweep of a thousand recipes has about one thousand."""
_ALWAYS = ("name", "model", "data", "space", "measure", "seed")


class CannotShow(Exception):
    """The form has no field for something in a spec; the text says for what."""


def parse(text: str, base: Path) -> Sweep:
    """A text as a sweep, relative paths in it taken from `base`. Raises SpecError in one line that names the place or the field."""
    if len(text) > LONGEST:
        raise SpecError(f"the text has {len(text):,} characters; a spec has {LONGEST:,} at the most")
    if not text.strip():
        raise SpecError("the text is empty; write a spec, or take the form’s")
    return parse_sweep(load_plain_yaml(text, "the text"), base)


def write(sweep: Sweep) -> str:
    """The spec as people write it, with what is special and the parts that every spec has; it reads back as the same sweep."""
    full = sweep.model_dump(mode="json")
    short = sweep.model_dump(mode="json", exclude_defaults=True)
    measure = {key: full["measure"][key] for key in ("test_samples", "latency", "profiles")}
    if sweep.measure.latency:
        special = sweep.measure.latency.model_dump(exclude_defaults=True)
        measure["latency"] = {key: full["measure"]["latency"][key] for key in ("threads", "batch", *special)}
    parts = {
        "data": {"source": sweep.data.source},
        "measure": measure,
        "recipes": [[_said(step) for step in steps] for steps in full["recipes"]],
        "target": full["target"],
    }
    value: dict[str, Any] = {}
    for key in full:
        if key in _ALWAYS or key in short:
            found = parts.get(key, short.get(key, full[key]))
            value[key] = found | short.get(key, {}) if key == "data" else found
    if sweep.measure.held_back:
        value["measure"]["held_back"] = sweep.measure.held_back
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def _said(step: dict[str, Any]) -> dict[str, Any]:
    """A step's options, bits of layers by their names."""
    return {k: dict(v) if k == "layers" and v != "uniform" else v for k, v in step.items() if v is not None}


def to_draft(sweep: Sweep) -> Draft:
    """The form's fields that stand for the same sweep; CannotShow says what the form has no field for."""
    recipes = sweep.all_recipes
    draft = Draft(
        name=sweep.name,
        model=sweep.model.source,
        weights=sweep.model.weights or "",
        data=sweep.data.source,
        **reading.from_spec(sweep.model, sweep.data),
        **_distilling(_of(Distill, recipes), recipes),
        **_pruning(_of(Prune, recipes), recipes),
        **_finetuning(_of(Finetune, recipes), pruned=bool(_of(Prune, recipes))),
        **_quantizing(_of(Quantize, recipes), recipes),
        **_running(_of(Runtime, recipes), recipes),
        **_measuring(sweep),
    )
    _within_bounds(draft)
    _same(sweep, draft)
    return draft


def _of(kind: type, recipes: Iterable[Recipe]) -> list[Any]:
    """The different steps of a kind, in the order of the recipes."""
    return list(dict.fromkeys(s for r in recipes for s in r.steps if isinstance(s, kind)))


def _values(steps: Sequence[Any], name: str) -> tuple[Any, ...]:
    """The different values of an option that is stated."""
    return tuple(dict.fromkeys(v for s in steps if (v := getattr(s, name)) is not None))


def _only(steps: Sequence[Any], name: str, otherwise: Any) -> Any:
    """The value of an option that the form has for all steps of a kind."""
    values = tuple(dict.fromkeys(getattr(s, name) for s in steps))
    if len(values) > 1:
        raise CannotShow(
            f"{steps[0].step}.{name} has several values ({', '.join(map(str, values))}), the form’s box has one"
        )
    return values[0] if values and values[0] is not None else otherwise


def _trained_rate(steps: Sequence[Quantize]) -> float:
    """The form's box: 0 where each trains at the usual rate of its bits."""
    if all(s.learning_rate == usual_qat_rate(s.weight_bits) for s in steps):
        return Draft.trained_rate
    return float(_only(steps, "learning_rate", Draft.trained_rate))


def _some_without(kind: type, recipes: Sequence[Recipe]) -> bool:
    """Whether some recipe beside the baseline leaves this kind of step out, or none could."""
    others = [r for r in recipes if r.steps]
    return any(not any(isinstance(s, kind) for s in r.steps) for r in others) or all(
        all(isinstance(s, kind) for s in r.steps) for r in others
    )


def _distilling(steps: list[Distill], recipes: Sequence[Recipe]) -> dict[str, Any]:
    if not steps:
        return {}
    taught = [s for s in steps if s.has_teacher]
    unknown = next((s.student for s in steps if s.student not in (*zoo_names(), SELF)), None)
    if unknown:
        raise CannotShow(f"student {unknown} is not among the form’s")
    own = [s for s in steps if s.student == SELF]
    shorter = [s for s in own if s.depth != 1]
    return {
        "students": tuple(dict.fromkeys(s.student for s in steps if s.student != SELF)),
        "own_widths": tuple(sorted({s.width for s in own if s.depth == 1}, reverse=True)),
        "own_depths": tuple(sorted({s.depth for s in shorter}, reverse=True)),
        "own_start": _only(shorter, "start", Draft.own_start),
        "repeats": _values(steps, "repeats"),
        "student_epochs": _only(steps, "epochs", Draft.student_epochs),
        "student_images": _only(steps, "samples", ALL),
        "student_rate": _only(steps, "learning_rate", Draft.student_rate),
        "student_augment": _only(steps, "augment", Draft.student_augment),
        "untaught": len(taught) < len(steps),
        "plain": _some_without(Distill, recipes),
    } | {
        name: _only(taught, name, getattr(Draft, name))
        for name in ("teacher", "temperature", "alpha", "feature_weight")
    }


def _pruning(steps: list[Prune], recipes: Sequence[Recipe]) -> dict[str, Any]:
    if not steps:
        return {}
    # With rounds the last pruning is the one that reaches what was asked for.
    chains = [[s for s in r.steps if isinstance(s, Prune)] for r in recipes]
    ends = list(dict.fromkeys(chain[-1] for chain in chains if chain))
    rounds = {len(chain) for chain in chains if chain and chain[-1].method != "nm"}
    if len(rounds) > 1:
        raise CannotShow(
            f"prunings are in {' and '.join(map(str, sorted(rounds)))} rounds, the form’s box has one number"
        )
    channels = [s for s in ends if s.method == "channel"]
    parts = [s for s in ends if s.method in PARTS]
    quantity = "macs_ratio" if any(s.macs_ratio for s in channels) else "ratio"
    return {
        "channels": tuple(sorted(_values(channels, quantity))),
        "channel_quantity": quantity,
        "parts": tuple(part for part in PARTS if any(s.method == part for s in parts)),
        "part_ratios": tuple(sorted(_values(parts, "ratio"))) or Draft.part_ratios,
        "importances": _values([*channels, *parts], "importance") or Draft.importances,
        "allocation": _only([*channels, *parts], "allocation", Draft.allocation),
        "round_to": _only([s for s in (*channels, *parts) if s.round_to is not None], "round_to", Draft.round_to),
        "zeros": tuple(sorted(_values([s for s in ends if s.method == "magnitude"], "ratio"))),
        "patterns": _values(ends, "pattern"),
        "rounds": max(rounds, default=1),
        "unpruned": _some_without(Prune, recipes),
    }


def _finetuning(steps: list[Finetune], pruned: bool) -> dict[str, Any]:
    if not steps:
        return {"finetune_epochs": 0} if pruned else {}
    return {
        "finetune_epochs": _only(steps, "epochs", 0),
        "finetune_images": _only(steps, "samples", ALL),
        "finetune_rate": _only(steps, "learning_rate", Draft.finetune_rate),
        "finetune_augment": _only(steps, "augment", Draft.finetune_augment),
    }


def _quantizing(steps: list[Quantize], recipes: Sequence[Recipe]) -> dict[str, Any]:
    if not steps:
        return {"quantizations": (AS_IT_IS,)}
    trained = [s for s in steps if s.method == "qat"]
    others = [s for s in steps if s.method == "ptq"]
    rounded = [s for s in others if s.weight_bits != 16]
    integer = [s for s in others if s.activation_bits <= 8]
    plain = [s for s in others if s.mean_bits is None and s.max_latency is None]
    names = dict.fromkeys(quantization_name(s.weight_bits, s.activation_bits) for s in plain)
    ends = {s.ends_8bit for s in others if s.ends_8bit != (s.weight_bits < 4)}
    return {
        "quantizations": (*([AS_IT_IS] if _some_without(Quantize, recipes) else []), *names),
        "matrices": tuple(
            dict.fromkeys(name for s in steps for name, entry in MATRICES.items() if s == Quantize(**entry))
        ),
        "trained": tuple(dict.fromkeys(f"w{s.weight_bits}a{s.activation_bits}" for s in trained)),
        "trained_epochs": _only(trained, "epochs", Draft.trained_epochs),
        "trained_images": _only(trained, "samples", ALL),
        "trained_rate": _trained_rate(trained),
        "mean_bits": _values(others, "mean_bits"),
        "time_shares": _values(others, "max_latency"),
        "rounding": _only(rounded, "rounding", Draft.rounding),
        "weight_range": _only(integer, "weight_range", Draft.weight_range),
        "bias_correction": _switch(rounded, "bias_correction"),
        "equalize": _switch(rounded, "equalize"),
        "ends_8bit": "auto" if len(ends) != 1 else "yes" if True in ends else "no",
        "per_channel": _values(rounded, "per_channel") or Draft.per_channel,
        "formats": _values(integer, "format") or Draft.formats,
        "calibrations": _values(integer, "calibration") or Draft.calibrations,
        "calibration_images": _only(integer, "calibration_samples", Draft.calibration_images),
    }


def _switch(steps: list[Quantize], name: str) -> str:
    """What all steps say of a knob that may decide for itself, as the form has it."""
    said = _only(steps, name, "auto")
    return next(word for word, value in SWITCH.items() if value is said or value == said)


def _running(steps: list[Runtime], recipes: Sequence[Recipe]) -> dict[str, Any]:
    return {
        "run_threads": _values(steps, "threads"),
        "run_batches": _values(steps, "batch"),
        "run_levels": _values(steps, "graph_optimisation"),
        "run_providers": _values(steps, "provider"),
        "run_usual": _some_without(Runtime, recipes),
    }


def _measuring(sweep: Sweep) -> dict[str, Any]:
    measure, target = sweep.measure, sweep.target
    return {
        "test_images": ALL if measure.test_samples == "all" else measure.test_samples,
        "held_back": measure.held_back,
        "latency": measure.latency is not None,
        "profiles": measure.profiles,
        "target_device": target.device if target else Draft.target_device,
        "limits": tuple(target.limits.items()) if target else (),
        "budget_trials": sweep.search.trials or 0,
        "budget_minutes": sweep.search.minutes or 0.0,
        "budget_node_seconds": sweep.search.node_seconds or 0.0,
        "search_method": sweep.search.method,
        "enough": sweep.search.enough or 0.0,
        "screen": sweep.search.screen is not None,
        "screen_share": (sweep.search.screen or Screen()).share,
        "screen_samples": (sweep.search.screen or Screen()).test_samples,
        "replicates": sweep.replicates,
        "seed": sweep.seed,
    } | (measure.latency.model_dump() if measure.latency else {})


def _within_bounds(draft: Draft) -> None:
    for name, (low, high) in BOUNDS.items():
        value = getattr(draft, name)
        if not low <= value <= high:
            raise CannotShow(f"{value:g} is beyond the form’s box for {name.replace('_', ' ')}, {low:g} to {high:g}")


def _same(sweep: Sweep, draft: Draft) -> None:
    """Whether the fields stand for the sweep, found out by going all the way back; CannotShow names what differs."""
    again = parse_sweep(to_spec(draft))
    for part in ("model", "data", "search", "measure", "target", "metric", "loss", "seed", "replicates"):
        mine, theirs = getattr(sweep, part), getattr(again, part)
        if mine != theirs:
            names = getattr(type(mine), "model_fields", {})
            inner = next((n for n in names if getattr(mine, n) != getattr(theirs, n, None)), None)
            raise CannotShow(
                f"{part}.{inner} is not in the form" if inner else f"{part} is not in the form as it is here"
            )
    wanted, made = dict.fromkeys(sweep.all_recipes), dict.fromkeys(again.all_recipes)
    for recipe in wanted:
        if recipe not in made:
            raise CannotShow(f"the recipe “{recipe.label}” is not one that its steps can be set to")
    for recipe in made:
        if recipe not in wanted:
            raise CannotShow(f"its steps would also make “{recipe.label}”")
    if sweep.search.trials is not None and list(wanted) != list(made):
        raise CannotShow("with a budget the order of the recipes counts, and the form’s is another one")
