"""`paretoscope graph`: a trial's network, and what became of its layers against another trial's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli._options import JsonFlag, SweepRef, TrialRef, print_json
from engine.cli._tables import print_table
from engine.errors import InputError

_BITS, _PAGE = "bits (weights/act.)", "NETWORK.html"


def graph(
    sweep: SweepRef,
    trial: TrialRef,
    against: Annotated[
        str | None, typer.Option(metavar="TRIAL", help="The trial that it came from or is compared with.")
    ] = None,
    colour: Annotated[
        str,
        typer.Option(
            help="What the file's picture is coloured by: bytes, params, macs, weight_bits, activation_bits, time_ms, similarity."
        ),
    ] = "bytes",
    every_node: Annotated[
        bool, typer.Option("--every-node", help="A box for every node, not for every layer with what is fused into it.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar=_PAGE, help="Draw it into one HTML file.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """A trial's network layer by layer; with --against what is gone, new, narrower or in other bits."""
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    store, artifacts = Store.open(), Artifacts.open()
    row = store.sweep(sweep)
    chosen = store.trial(row.id, trial)
    if against is not None:
        if every_node:
            raise InputError("--every-node and --against: networks are compared by layers; leave one of the two out")
        _difference(store.trial(row.id, against), chosen, artifacts, output, as_json)
        return
    from engine.explain.network import network, network_json, network_rows
    from engine.figures.graph_info import COLOURINGS, SIMILARITY, SIMILARITY_TITLE, graph_info

    if colour not in (*COLOURINGS, "time_ms", SIMILARITY):
        raise InputError(
            f"--colour {colour}: a network is coloured by {', '.join(COLOURINGS)}, time_ms or {SIMILARITY}"
        )
    values, title = None, None
    if colour == "time_ms":
        values, title = _times(store, row.id, chosen), "Time"
    elif colour == SIMILARITY:
        values, title = _similarity(store, row.id, chosen), SIMILARITY_TITLE
    found = network(chosen, artifacts, not every_node)
    rows = network_rows(found)
    if output is not None:
        from engine.export.network import write_network

        info = graph_info(found, colour, values, title, least=colour == SIMILARITY)
        write_network(output, chosen.label, [f"{info.about}.", *(f"{note}." for note in found.notes)], info, rows)
    if as_json:
        print_json({"trial": chosen.id, "label": chosen.label, **network_json(found), "html": output and str(output)})
        return
    _print_layers(rows)
    for note in found.notes:
        print(f"- {note}")
    if output is not None:
        print(f"wrote {output}")


def _difference(first: Any, second: Any, artifacts: Any, output: Path | None, as_json: bool) -> None:
    from engine.explain.network import network_difference
    from engine.graph.graph_difference import difference_rows, summary

    found = network_difference(first, second, artifacts)
    said, rows = summary(found), difference_rows(found)
    if output is not None:
        from engine.export.network import write_network
        from engine.figures.graph_changes import difference_info

        lines = [f"{said}.", f"Against {first.label} ({first.id})."]
        write_network(output, second.label, lines, difference_info(found, said, (first.label, second.label)), rows)
    if as_json:
        print_json(
            {"trial": second.id, "against": first.id, "summary": said, "lineage": found.lineage, "layers": rows,
             "html": output and str(output)}
        )  # fmt: skip
        return
    print_table(
        {"layer": "left", "operator": "left", "change": "left", "in numbers": "left", "matched by": "left"},
        [(r["layer"], r["operator"], r["changes"], r["details"], r["matched_by"] or "–") for r in rows],
    )
    print(f"{second.label} against {first.label}: {said}")
    if output is not None:
        print(f"wrote {output}")


def _times(store: Any, sweep_id: str, trial: Any) -> dict[str, float]:
    """What `paretoscope why` has found of this trial."""
    from engine.explain.network import layer_times
    from engine.explain.why import kept_why

    baseline = store.trials(sweep_id)[0]
    found = None if trial.id == baseline.id else kept_why(store, store.spec(sweep_id), trial, baseline)
    if found is None:
        measures = f"`paretoscope why {sweep_id} {trial.id}` measures them"
        hint = "those of a baseline are kept with another trial’s" if trial.id == baseline.id else measures
        raise InputError(f"--colour time_ms: the layers of trial {trial.id} have no times yet; {hint}")
    return layer_times(found)


def _similarity(store: Any, sweep_id: str, trial: Any) -> dict[str, float]:
    """What `paretoscope layers` has found of this trial."""
    from engine.explain.layers import kept_layers
    from engine.explain.network import layer_similarity

    baseline = store.trials(sweep_id)[0]
    if trial.id == baseline.id:
        raise InputError(f"--colour similarity: trial {trial.id} is the baseline itself; choose one of the others")
    found = kept_layers(store, store.spec(sweep_id), trial, baseline)
    if found is None:
        raise InputError(
            f"--colour similarity: the layers of trial {trial.id} have not been held against the baseline's yet; "
            f"`paretoscope layers {sweep_id} {trial.id}` does that"
        )
    return layer_similarity(found)


def _print_layers(rows: list[dict[str, Any]]) -> None:
    def number(value: int | None) -> str:
        return "–" if value is None else f"{value:,}"

    print_table(
        {"layer": "left", "operator": "left", "gives": "left", "parameters": "right", "bytes": "right", "MACs": "right", _BITS: "right"},
        [
            (r["layer"], r["operator"], r["shape"] or "–", number(r["params"]), number(r["bytes"]), number(r["macs"]),
             f"{r['weight_bits'] or '–'}/{r['activation_bits'] or '–'}")
            for r in rows
        ],
    )  # fmt: skip
