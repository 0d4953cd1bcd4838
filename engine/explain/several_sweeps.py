"""Several sweeps beside each other: what of them can be compared, and who beats whom in words. `engine/frontier/several.py` computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.errors import NotFoundError, SpecError
from engine.frontier.certainty import Find
from engine.frontier.columns import Trials
from engine.frontier.front import usual_objectives
from engine.frontier.several import Lot, Several, Share, check_one_machine_of
from engine.metrics import in_a_sentence
from engine.quality.same_samples import Answers, load_answers, same_labels
from engine.spec.canonical import canonical_json
from engine.spec.sweep import Sweep
from engine.trials.text import share_text


def lot_of(name: str, trials: Trials, spec: Sweep, find: Find | None) -> Lot:
    """A sweep among several: what it is measured on, and what it compresses, by its spec."""
    told = (("labels", spec.data.labels), ("target", spec.data.target))
    data = ", ".join([spec.data.source, *(f"{k} {v}" for k, v in told if v is not None)])
    return Lot(name, trials, data, canonical_json(spec.model.model_dump(mode="json")), find)


def named_apart(lots: Sequence[Lot]) -> list[Lot]:
    """The same, two of one name told apart by numbers, and data that were called alike and have other labels told apart by sweep."""
    names = [lot.name for lot in lots]
    told = [
        replace(lot, name=f"{lot.name} ({i})" if names.count(lot.name) > 1 else lot.name)
        for i, lot in enumerate(lots, 1)
    ]
    known: list[tuple[str, Answers, str]] = []
    found = []
    for lot in told:
        answers, data = _baseline_answers(lot), lot.data
        if answers is not None:
            alike = [k for k in known if k[0] == lot.data and len(k[1][0]) == len(answers[0])]
            same = next((k for k in alike if same_labels(k[1], answers)), None)
            if same is not None:
                data = same[2]
            elif alike:
                data = f"{lot.data} as it was for {lot.name}"
            known.append((lot.data, answers, data))
        found.append(replace(lot, data=data))
    return found


def _baseline_answers(lot: Lot) -> Answers | None:
    done = lot.trials.done
    if lot.find is None or done.baseline is None or not (name := done.fact("predictions")[done.baseline]):
        return None
    try:
        return load_answers(lot.find(name))
    except NotFoundError:
        return None


def shared_metrics(lots: Sequence[Lot], device: str = "host") -> tuple[str, ...]:
    """The keys of the metrics that every one of the sweeps has measured, in their usual order."""
    each = [lot.trials.measured(device) for lot in lots]
    return tuple(k for k in (each[0] if each else ()) if all(k in keys for keys in each))


def usual_axes(lots: Sequence[Lot], device: str = "host") -> tuple[str, ...]:
    """What frontiers of these sweeps are over where nobody says otherwise: the usual objectives that all have, without times that two
    machines measured; none where they share fewer than two numbers.
    """
    shared = shared_metrics(lots, device)
    wanted = [k for lot in lots[:1] for k in usual_objectives(lot.trials, device) if k in shared]
    try:
        check_one_machine_of(lots, wanted, device)
    except SpecError:
        wanted = [k for k in wanted if k != "latency_ms"]
    wanted += [k for k in ("size_bytes", "params", "macs") if k in shared and k not in wanted][
        : max(0, 2 - len(wanted))
    ]
    return tuple(wanted) if len(wanted) > 1 else ()


def who_beats_whom(found: Several) -> list[str]:
    """The comparison, a sentence each: hypervolumes, then coverage of each pair; why there is none, where there is none."""
    if found.unlike:
        return [f"{why}: each sweep has its own frontier, and none is joint." for why in found.unlike]
    if not found.volumes:
        return ["No recipe of these sweeps has all of these numbers."]
    order = sorted(range(len(found.names)), key=lambda i: -found.volumes[i].value)
    lines = _areas(found, order)
    for place, i in enumerate(order):
        for j in order[place + 1 :]:
            a, b = found.names[i], found.names[j]
            there, back = _of_front(found.covers[i][j]), _of_front(found.covers[j][i])
            lines.append(f"“{a}” beats {there} of the frontier of “{b}”, “{b}” {back} of that of “{a}”.")
    counts = [sum(owner == i for owner, _ in found.joint) for i in range(len(found.names))]
    share = ", ".join(f"{n} of “{name}”" for name, n in zip(found.names, counts, strict=True) if n)
    said = [in_a_sentence(k) for k in found.objectives]
    names = f"{', '.join(said[:-1])} and {said[-1]}"
    lines.append(f"The joint frontier over {names} has {len(found.joint)} recipes: {share}.")
    return lines


def _areas(found: Several, order: Sequence[int]) -> list[str]:
    """How much of the plane each frontier covers, the most first, and how sure it is which is ahead."""
    area = "the area between the worst and the best values of all of them"
    if not any(share.value for share in found.volumes):
        # As where all have the same on one axis: then nothing is ahead by it.
        return [f"No frontier covers any of {area}, so by that none is ahead."]
    told = [f"that of “{found.names[i]}” {_of_box(found.volumes[i])}" for i in order]
    lines = [f"Of {area}, the frontiers cover: {', '.join(told)}."]
    first, second = order[0], order[1]
    sure, (a, b) = found.ahead[first][second], (found.names[first], found.names[second])
    ahead = f"ahead of “{b}” in {share_text(sure)} of redraws of the measurements"
    return [*lines, f"“{a}” is {ahead}." if sure >= 0.95 else f"Which is ahead is within chance: “{a}” is {ahead}."]


def _of_box(share: Share) -> str:
    text = f"{100 * share.value:.1f} %"
    ends = f"{100 * share.low:.1f}", f"{100 * share.high:.1f}"
    return text if ends[0] == ends[1] else f"{text} ({ends[0]} to {ends[1]})"


def _of_front(share: Share) -> str:
    text = "none" if not share.value else f"{100 * share.value:.0f} %"
    ends = f"{100 * share.low:.0f}", f"{100 * share.high:.0f}"
    return text if ends[0] == ends[1] else f"{text} ({ends[0]} to {ends[1]} % in redraws)"


def several_json(found: Several, ids: Sequence[str]) -> dict[str, Any]:
    """What `front SWEEP SWEEP… --json` prints; `ids` are those of the sweeps."""

    def of(share: Share) -> dict[str, float]:
        return {"value": share.value, "low": share.low, "high": share.high}

    def trial(i: int, row: int) -> dict[str, Any]:
        return {"sweep": ids[i], **found.trials[i][row].to_json(found.device)}

    return {
        "objectives": list(found.objectives),
        "device": found.device,
        "sweeps": [
            {
                "id": ids[i],
                "name": name,
                "frontier": [found.trials[i].ids[row] for row in found.fronts[i]],
                "hypervolume": of(found.volumes[i]) if found.volumes else None,
                "beats": {ids[j]: of(found.covers[i][j]) for j in range(len(ids)) if j != i} if found.covers else None,
                "ahead_of": {ids[j]: found.ahead[i][j] for j in range(len(ids)) if j != i} if found.ahead else None,
            }
            for i, name in enumerate(found.names)
        ],
        "joint": [trial(i, row) for i, row in found.joint],
        "not_comparable": list(found.unlike),
        "redraws": found.draws,
        "text": who_beats_whom(found),
    }
