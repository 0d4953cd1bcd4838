"""What a run tells of itself while it goes on: what it is doing now, in words; and the run before it, kept where it is made anew."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from engine.run.plan import Kind, Plan
from engine.trials.trial import Trial

MOST_NAMED = 6
"""So many are named, and how many more there are."""
_WORDS: dict[Kind, str] = {
    "source": "reading the network", "convert": "reading the network", "teacher": "asking the network for its answers",
    "distill": "distilling",
    "prune": "pruning", "finetune": "training", "export": "exporting", "sensitivity": "trying the layers of",
    "layer_times": "timing the layers of", "quantize": "quantizing", "fewest": "choosing layers to keep in float for",
    "qat": "training in few bits", "imported": "reading", "facts": "counting", "accuracy": "testing", "latency": "timing",
}  # fmt: skip

# What every recipe begins with.
_OF_ALL = frozenset({"source", "convert", "teacher"})


def under_way(
    plan: Plan, begun: Collection[str], recipe_of: Mapping[str, str], waits: Sequence[str] = ()
) -> str | None:
    """The nodes that have begun as a JSON list of words, `["training channels −50 %", "timing int8"]`; None where there are none.

    A node is named by a recipe, by its key in `recipe_of` (`Plan.first_recipes`). `waits`: for what the run waits, said last.
    """
    words = sorted(node_words(plan.nodes[key].kind, recipe_of[key]) for key in begun)
    told = [*words[:MOST_NAMED], *([f"{len(words) - MOST_NAMED} more"] if len(words) > MOST_NAMED else []), *waits]
    return json.dumps(told, ensure_ascii=False) if told else None


def node_words(kind: Kind, recipe: str) -> str:
    """A node in words, with the label of a recipe that needs it."""
    return _WORDS[kind] if kind in _OF_ALL else f"{_WORDS[kind]} {recipe}"


def to_keep(plan: Plan, earlier: Mapping[str, Trial], left: Collection[str]) -> list[Trial]:
    """The trials that a sweep has, where some of them become others, as after an update; none for a run that only goes on.

    `earlier`: the stored trials by id; `left`: keys of the nodes that are not finished. What is measured anew becomes another, and so does
    what is finished under other keys, as when data are put back as they were.
    """
    for chain in plan.chains:
        trial = earlier.get(chain.recipe.id)
        if trial is None or trial.state != "done":
            continue
        names = [plan.nodes[key].artifact for key in (chain.model, chain.accuracy)]
        if names != [trial.artifact, trial.predictions] or not plan.asked_of(chain).isdisjoint(left):
            return list(earlier.values())
    return []
