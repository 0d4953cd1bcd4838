"""`paretoscope check`: model and data of a spec on a few samples, in seconds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from engine.cli._options import JsonFlag, Overrides, SpecFile, print_json
from engine.cli._tables import console, print_table
from engine.metrics import METRICS, text_of

MOST_SLICES = 12

if TYPE_CHECKING:
    from engine.check.report import Report
    from engine.check.tried import Tried


def check(spec: SpecFile, overrides: Overrides = [], as_json: JsonFlag = False) -> None:  # noqa: B006
    """Hold model and data against each other on a few samples; find the preprocessing where the spec does not say it."""
    from engine.check.report import check as checked
    from engine.spec.read import read_sweep

    report = checked(read_sweep(spec, tuple(overrides)))
    print_json(report.to_json()) if as_json else print_report(report)
    if not report.ok:
        sys.exit(1)


def _answers(report: Report) -> str:
    if report.classes:
        return f"{len(report.classes)} classes"
    return f"task {report.sweep.data.task}" if report.sweep else "no classes"


def _rated(tried: Tried, classes: bool) -> tuple[str, ...]:
    if not classes:
        return ("–" if tried.error is None else f"{tried.error:.3g}",)
    right = "–" if tried.right is None else f"{tried.right} of {tried.n}"
    return right, f"{tried.confidence:.2f}", f"{tried.information:.2f}"


def print_report(report: Report) -> None:
    """Data, what was tried, and what was found."""
    told, out = report.to_json(), console()
    if report.inputs:
        several = all(isinstance(value, dict) for value in report.inputs.values())
        arrays = report.inputs if several else {"": report.inputs}
        splits = ", ".join(f"{name} {n:,}" for name, n in report.splits.items())
        told_of = [
            f"{name} {'×'.join(map(str, a['shape']))} {a['dtype']}, {a['least']:g} to {a['largest']:g}".strip()
            for name, a in arrays.items()
        ]
        out.print(f"inputs {'; '.join(told_of)}; {splits}; {_answers(report)}")
    for name, values in report.slices.items():
        counted = [f"{value}: {', '.join(f'{n:,} {split}' for split, n in of.items())}" for value, of in values.items()]
        out.print(
            f"slices by {name}: {'; '.join(counted[:MOST_SLICES])}{'; …' if len(counted) > MOST_SLICES else ''}",
            markup=False,
        )
    if report.tried:
        rows = [
            (
                "→" if t.chosen else "",
                t.name,
                *_rated(t, bool(report.classes)),
                str(said["preprocess"]),
            )
            for t, said in zip(report.tried, told["preprocessing"], strict=True)
        ]
        columns = {"": "left", "preprocessing": "left"}
        rated = ("right", "confidence", "nats") if report.classes else ("error, of the targets' deviation",)
        columns |= dict.fromkeys(rated, "right")
        print_table(columns | {"data.preprocess": "left"}, rows)
    if report.baseline:
        low, high, n = (report.baseline[name] for name in ("low", "high", "n"))
        if report.classes:
            out.print(
                f"the network is right on {report.baseline['value']:.1%} of {n} samples ({low:.1%} to {high:.1%})"
            )
        else:
            key, value = report.baseline["key"], report.baseline["value"]
            out.print(
                f"{METRICS[key].name} is {text_of(key, value)} on {n} samples ({text_of(key, low, False)} to {text_of(key, high, False)})"
            )
    for finding in report.findings:
        style = "red" if finding.level == "error" else "yellow"
        # As it is: an extra in brackets is no markup, and a command stays on one line.
        out.print(f"{finding.level}: {finding.what}; {finding.remedy}", style=style, markup=False, soft_wrap=True)
    if report.ok:
        out.print("nothing is wrong" if not report.findings else "nothing that would keep it from running")
