"""A network, or the difference of two, as one HTML file that needs no network and no program; and as a section of a report."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import ParetoscopeError
from engine.explain.network import difference_of_graphs, layer_similarity, network_rows
from engine.export.zips import check_target, write_atomically
from engine.figures.graph import CSS, JS, graph_html
from engine.figures.graph_changes import difference_info
from engine.figures.graph_info import SIMILARITY, SIMILARITY_TITLE, GraphInfo, graph_info
from engine.graph.graph_difference import IN_SHORT, difference_rows, summary
from engine.graph.layer_graph import LayerGraph
from engine.trials.trial import Trial

NetworkOf = Callable[[Trial], LayerGraph]
"""How a trial's file is read: `engine.explain.network.network` with its artifacts, or where hostile ones are."""
LayersOf = Callable[[Trial], Mapping[str, Any] | None]
"""What `engine.explain.layers.kept_layers` has of a trial; None where nobody has asked yet."""
MOST_BYTES = 100_000
"""A report takes no larger picture: with plotly.js in it, it shall stay below 5 MB, and what is larger is better looked at by itself."""


def write_network(
    target: Path, title: str, lines: Sequence[str], info: GraphInfo, rows: Sequence[dict[str, Any]]
) -> Path:
    """Write `network_page` to `target`, whole or not at all; raises InputError."""
    check_target(target, "network.html")
    write_atomically(target, network_page(title, lines, info, rows).encode())
    return target


def network_page(title: str, lines: Sequence[str], info: GraphInfo, rows: Sequence[dict[str, Any]]) -> str:
    """The whole page: `lines` above the picture, the same as a table below."""
    words = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
    return _PAGE.format(
        title=html.escape(title), css=CSS, words=words, graph=graph_html(info), table=_table(rows), js=JS.strip()
    )


def report_section(
    baseline: Trial | None, chosen: Trial | None, network_of: NetworkOf, layers_of: LayersOf | None = None
) -> str:
    """The baseline's network, and what a recipe made of it, and where its answers are less like the baseline's, as far as that is known; ""
    where `network_of` raises, as for a file that is not there.
    """
    similar = ""
    if baseline is None:
        return ""
    try:
        if chosen is None or chosen.id == baseline.id:
            graph = network_of(baseline)
            info, rows = graph_info(graph), network_rows(graph)
            head, words = "The network", "Its layers, coloured by bytes."
        else:
            found = difference_of_graphs(network_of(baseline), network_of(chosen), baseline.recipe, chosen.recipe)
            about = summary(found)
            info = difference_info(found, about, ("baseline", "recipe"))
            rows = [{name: row[name] for name in IN_SHORT} for row in difference_rows(found)]
            head, words = "The network, and what became of it", f"From the baseline to {chosen.label}: {about}."
            layers = layers_of(chosen) if layers_of else None
            similar = _similar(network_of(chosen), layers) if layers else ""
    except ParetoscopeError:
        # Files of a sweep that was run elsewhere, or long ago.
        return ""
    picture = _small_enough(info)
    if picture is None:
        picture = (
            f"<p>{len(info.marks):,} boxes are too many for a report; <code>paretoscope graph</code> draws them.</p>"
        )
        rows = []
    return (
        f"<section class=network-section><h2>{head}</h2><p>{html.escape(words)}</p>"
        f'<div class="network">{picture}</div>{_table(rows)}{similar}</section>'
    )


def _small_enough(info: GraphInfo) -> str | None:
    """The picture with blocks to open, or else without; None where that is too large, too."""
    for opens in (True, False):
        picture = graph_html(info, opens)
        if len(picture) <= MOST_BYTES:
            return picture
    return None


def _similar(graph: LayerGraph, layers: Mapping[str, Any]) -> str:
    """Where a recipe's answers are less like the baseline's; "" where no layer can be compared."""
    ratios = layer_similarity(layers)
    picture = _small_enough(graph_info(graph, SIMILARITY, ratios, SIMILARITY_TITLE, least=True)) if ratios else None
    if picture is None:
        return ""
    words = f"{layers['sentence']} The colour is each layer's ratio of signal to noise against {layers['reference']}, in decibels."
    return f'<h3>Where its answers differ</h3><p>{html.escape(words)}</p><div class="network">{picture}</div>'


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """The picture's twin, folded; columns in which nothing is known are left out."""
    columns = [name for name in (rows[0] if rows else {}) if any(row[name] not in (None, "") for row in rows)]
    if not columns:
        return ""
    head = "".join(f"<th scope=col>{html.escape(name.replace('_', ' '))}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{_cell(row[name])}</td>" for name in columns) + "</tr>" for row in rows)
    return (
        '<details><summary>The same as a table</summary><div class="wide" tabindex="0" role="region" aria-label="Layers">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _cell(value: object) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else html.escape(str(value))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
img-src data: blob:; base-uri 'none'; form-action 'none'">
<meta name="color-scheme" content="light dark"><title>{title}</title><style>
:root {{ --graph-text: #1b2430; --graph-line: #d9dee5; --graph-height: 75vh; --back: #ffffff; }}
@media (prefers-color-scheme: dark) {{ :root {{ --graph-text: #e8ecf1; --graph-line: #323c49; --back: #10151c; }} }}
body {{ margin: 0 auto; max-width: 1400px; padding: 1rem; background: var(--back); color: var(--graph-text);
  font: 15px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.3rem; margin: 0; overflow-wrap: anywhere; }} p {{ margin: .25rem 0; overflow-wrap: anywhere; }}
.wide {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-size: .85rem; }} summary {{ cursor: pointer; }}
th, td {{ text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--graph-line); white-space: nowrap; }}
{css}</style></head>
<body><h1>{title}</h1>{words}<div class="network">{graph}</div>{table}
<script>document.querySelectorAll(".network").forEach({js});</script></body></html>
"""
