"""`paretoscope diff`: what changed between two runs of the same recipes, the regressions first."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, print_json
from engine.cli._tables import print_table
from engine.errors import SpecError

if TYPE_CHECKING:
    from engine.explain.run_changes import Tolerance
    from engine.explain.run_diff import RunDiff

_RUN = (
    "SWEEP, SWEEP@before (its run before the last one), HOME:SWEEP or BACKUP.zip:SWEEP of another home, a home or backup "
    "alone for the same sweep there, or a file of `trials --json`."
)


def diff(
    then: Annotated[str, typer.Argument(metavar="THEN", help=f"The run to compare with: {_RUN}")],
    now: Annotated[
        str | None,
        typer.Argument(
            metavar="NOW",
            help="The run to judge, named likewise; default: THEN itself, against its run before the last.",
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(metavar="POINTS", help="A loss up to this is none, in points, or the metric's own unit.")
    ] = 0.0,
    max_growth: Annotated[float, typer.Option(metavar="PERCENT", help="A file that grew up to this has not.")] = 1.0,
    max_slower: Annotated[float, typer.Option(metavar="PERCENT", help="A time that grew up to this has not.")] = 5.0,
    everything: Annotated[bool, typer.Option("--all", help="List the unchanged recipes, too.")] = False,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit code 1 where a recipe is worse, or fails that did not.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """What changed between two runs of the same recipes: regressions first, then failures, improvements, the frontier, what to ship."""
    from engine.explain.run_diff import run_diff
    from engine.explain.run_fronts import front_diff, recommended
    from engine.explain.run_sides import BEFORE, check_sides, side_of, what_differs
    from engine.explain.run_texts import diff_json

    if min(max_drop, max_growth, max_slower) < 0:
        raise SpecError(
            "--max-drop, --max-growth and --max-slower are changes that do not count, 0 or more; give no negative one"
        )
    with tempfile.TemporaryDirectory(prefix="paretoscope-diff-") as folder:
        right = side_of(now if now is not None else then.removesuffix(BEFORE), Path(folder))
        left = side_of(then if now is not None else then.removesuffix(BEFORE) + BEFORE, Path(folder), right.sweep)
        check_sides(left, right)
        found = run_diff(
            left.trials, right.trials, left.find, right.find, _tolerance(right.trials, max_drop, max_growth, max_slower)
        )
        fronts, verdicts, differs = (
            front_diff(left, right),
            (recommended(left), recommended(right)),
            what_differs(left, right),
        )
    if as_json:
        print_json({"then": left.name, "now": right.name, **diff_json(found, fronts, verdicts, differs)})
    else:
        print(f"{_titled(left.name, left.when)} → {_titled(right.name, right.when)}")
        _print_lines("", differs)
        _print_lines("Not compared: ", found.left_out)
        print_diff(found, everything)
        from engine.explain.run_texts import front_lines

        print("\n" + "\n".join(front_lines(fronts)))
        for name, told in zip(("Then", "Now"), verdicts, strict=True):
            print(f"\n{name}: {told.sentence or 'no recommendation'}")
    if fail_on_regression and found.has_regressions:
        raise typer.Exit(1)


def _tolerance(trials: object, drop: float, growth: float, slower: float) -> Tolerance:
    from engine.explain.run_changes import Tolerance
    from engine.frontier.columns import Trials
    from engine.metrics import based

    return Tolerance(based(Trials.of(trials).judged_by, drop), growth / 100, slower / 100)  # type: ignore[arg-type]


def _titled(name: str, when: str | None) -> str:
    return f"{name} ({when})" if when else name


def _print_lines(lead: str, lines: tuple[str, ...]) -> None:
    for line in lines:
        print(f"  {lead}{line}")


def print_diff(found: RunDiff, everything: bool = False) -> None:
    """The recipes, those that are worse first; the unchanged ones are counted unless `everything` is asked for."""
    from engine.explain.run_diff import STANDINGS
    from engine.explain.run_texts import HEADINGS, HOW, alone, cell_text, summary_text
    from engine.metrics import METRICS

    keys = list(dict.fromkeys(c.key for r in found.recipes for c in r.changes))
    rows = []
    for standing in STANDINGS:
        for r in found.of(standing):
            if standing == "unchanged" and not everything:
                continue
            by_key = {c.key: c for c in r.changes}
            failed = f"  {r.error}" if r.error else "  failed then" if r.then.state == "failed" else ""
            rows.append((HEADINGS[standing], r.now.id, r.label + failed, *(cell_text(by_key.get(k)) for k in keys)))
    print()
    if rows:
        names = ("Time" if k == "latency_ratio" else METRICS[k].name for k in keys)
        print_table({"": "left", "id": "left", "recipe": "left", **dict.fromkeys(names, "right")}, rows, HOW)
        print()
    print(f"{summary_text(found)}.")
    for title, trials in alone(found):
        shown = ", ".join(t.label for t in trials[:8])
        more = f" and {len(trials) - 8:,} more" if len(trials) > 8 else ""
        print(f"{title}: {shown}{more}.")
