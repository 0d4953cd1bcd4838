"""A sweep as one HTML file that needs no network and no program: frontier charts that can be zoomed and hovered, and the table behind them.

plotly.js is inlined once; a Content-Security-Policy in the file forbids it, and everything else, to load anything from anywhere.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from engine import __version__
from engine.devices.profiles import HOST, profile_names
from engine.devices.projection import with_projections
from engine.errors import SpecError
from engine.export.network import LayersOf, NetworkOf, report_section
from engine.export.report_broke import broke_section
from engine.export.report_options import ABOUT, options_table
from engine.export.report_table import LIMITS, MOST_ROWS, label_html, table, text_html
from engine.export.report_time_lapse import time_lapse_parts
from engine.export.zips import check_target, write_atomically
from engine.figures.effects import effects_alt, effects_figure, effects_info
from engine.figures.frontier import frontier_alt, frontier_figure
from engine.figures.frontier_info import drawn_text, frontier_info
from engine.figures.graph import CSS, JS
from engine.figures.heat_map import heat_map_alt, heat_map_figure, heat_map_info
from engine.figures.lineage import lineage_alt, lineage_figure, lineage_info
from engine.frontier.certainty import Find
from engine.frontier.effects import Effects, effects
from engine.frontier.front import OBJECTIVES, Front, find_front
from engine.frontier.recommendation import View, axes_to_ship_by, choose
from engine.frontier.verdict import verdict_for
from engine.metrics import METRICS
from engine.spec.labels import source_name
from engine.spec.sweep import Sweep
from engine.store.rows import SweepRow
from engine.trials.text import timing_texts
from engine.trials.trial import Trial

MOST_ON_DEVICES = 30
"""Recipes of the frontier that the map of devices shows, the best first."""
NAMES_PX, DEVICE_PX = 200, 17
"""What the names of recipes take beside that map, and the height of a line, so that names of devices stand beside each other."""


def write_report(
    target: Path,
    row: SweepRow,
    sweep: Sweep,
    trials: Sequence[Trial],
    objectives: Sequence[str] = OBJECTIVES,
    device: str = "host",
    network_of: NetworkOf | None = None,
    find: Find | None = None,
    layers_of: LayersOf | None = None,
) -> Path:
    """Write `report_html` to `target`, whole or not at all; a file that is there is replaced. Raises InputError, SpecError."""
    check_target(target, "report.html")
    text = report_html(row, sweep, trials, objectives, device, network_of, find, layers_of)
    write_atomically(target, text.encode())
    return target


def report_html(
    row: SweepRow,
    sweep: Sweep,
    trials: Sequence[Trial],
    objectives: Sequence[str] = OBJECTIVES,
    device: str = "host",
    network_of: NetworkOf | None = None,
    find: Find | None = None,
    layers_of: LayersOf | None = None,
) -> str:
    """The whole page; the same sweep gives the same bytes.

    The first objective is drawn against each of the others; the table's frontier is that of all of them together. With `network_of` the
    baseline's network is drawn, and what the frontier's knee made of it, as far as their files are there; with `layers_of` also where
    the knee's answers are less like the baseline's, as far as somebody has asked. With `find`, which leads to the
    stored predictions, accuracies are compared sample by sample, and what broke in the recommended recipe is shown. Raises SpecError for
    fewer than two objectives, and where nothing has been measured.
    """
    if len(set(objectives)) < 2:
        raise SpecError(
            f"a report draws one objective against others, but got {', '.join(objectives)}; give two or more"
        )
    done = [t for t in trials if t.state == "done"]
    front = find_front(done, tuple(objectives), device)
    if not front.trials:
        raise SpecError(f"{row.id} has no recipe with {', '.join(objectives)} measured; there is nothing to report yet")
    title = f"{row.name}: frontier"
    baseline = next((t for t in done if not t.recipe.steps), None)
    told = verdict_for(done, axes_to_ship_by(objectives, done, device), sweep.target, device, find)
    chosen = next((t for t in done if t.id == told.trial), None)
    options = effects(done, device, find)
    parts = [
        f"<h1>{text_html(row.name)}</h1>",
        f'<p class="lead">{_lead(row, sweep, done, trials)}</p>',
        f'<p class="advice">{text_html(told.sentence)}</p>' if told.sentence else "",
        LIMITS,
        *(_figure(done, objectives[0], other, device) for other in dict.fromkeys(objectives[1:])),
        _frontier_words(front, objectives),
        table(trials, front, device),
        _options(options),
        broke_section(sweep, baseline, chosen, find),
        _lineage(done, objectives, device),
        _time_lapse(done, objectives, device),
        _devices(front, [baseline] if baseline else []),
        _network(baseline, front, network_of, layers_of),
        _failures(trials),
        _method(sweep, done),
        f"<footer>Made by Paretoscope {text_html(__version__)}. This file loads nothing from the network.</footer>",
    ]
    return _PAGE.format(
        title=text_html(title),
        style=_read("report.css") + CSS,
        body="\n".join(parts),
        plotly=_plotly(),
        start=_START % (_read("report.js") + _NETWORKS),
    )


def _lead(row: SweepRow, sweep: Sweep, done: Sequence[Trial], trials: Sequence[Trial]) -> str:
    machines = sorted({t.machine.label for t in done if t.machine})
    where = f" Measured on {text_html(' and on '.join(machines))}." if machines else ""
    return (
        f"{text_html(source_name(sweep.model.source))} on {text_html(source_name(sweep.data.source))}: "
        f"{len(done)} of {len(trials)} recipes measured. Sweep {text_html(row.id)}, {text_html(row.created)}, seed {sweep.seed}.{where}"
    )


def _options(found: Effects) -> str:
    """Which option matters: a chart for what the sweep is judged by, and the table of all."""
    table_of_them = options_table(found)
    if not table_of_them:
        return ""
    key = found.metrics[0]
    dots = effects_info(found, key)
    figure = effects_figure(dots, key)
    # As high as the place that the page keeps for a chart.
    figure.update_layout(height=max(460, figure.layout.height))
    chart = _section("Which option matters", figure, effects_alt(dots, key), ABOUT)
    return chart + table_of_them


def _figure(done: Sequence[Trial], y: str, x: str, device: str) -> str:
    """A place for a chart, its data beside it, and its buttons."""
    info = frontier_info(done, View(x=x, y=y, device=device))
    name = f"{METRICS[y].name} against {_in_a_sentence(x)}"
    return _section(name, frontier_figure(info, height=460), frontier_alt(info), drawn_text(info))


def _section(title: str, figure: go.Figure, alt: str, about: str = "", least_px: int = 0, controls: str = "") -> str:
    """A heading, a place for a chart with its data beside it, and its buttons; what needs `least_px` scrolls where there are fewer.

    `controls` is HTML between the chart and its buttons.
    """
    # The theme is given by the page, light or dark; plotly's own would weigh 8 kB a chart and paint over it.
    figure.update_layout(template="none")
    lead = f'<p class="lead">{text_html(about)}</p>' if about else ""
    open_, close = ('<div class="wide" tabindex="0">', "</div>") if least_px else ("", "")
    least = f' style="min-width: {least_px}px"' if least_px else ""
    return (
        f'<section><h2>{text_html(title)}</h2>{lead}{open_}<div class="chart"{least} role="img" aria-label="{text_html(alt)}"></div>{close}'
        f'<script type="application/json">{_json(figure.to_json())}</script>{controls}'
        '<p class="buttons"><button type="button" data-format="svg">Save as SVG</button> '
        '<button type="button" data-format="png">Save as PNG</button></p></section>'
    )


def _in_a_sentence(key: str) -> str:
    """A metric's name without its capital, unless it is an abbreviation."""
    name = METRICS[key].name
    return name if name[1:2].isupper() else name[0].lower() + name[1:]


def _json(text: str) -> str:
    """JSON that cannot end the script element that it stands in, nor begin a comment there."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _frontier_words(front: Front, objectives: Sequence[str]) -> str:
    names = ", ".join(_in_a_sentence(key) for key in dict.fromkeys(objectives))
    knee = next((t for t in front.trials if t.id == front.knee), None)
    bend = f" Past <b>{label_html(knee)}</b> (◆), giving up more on one buys little on the others." if knee else ""
    return (
        f"<h2>Recipes</h2><p>{len(front.trials)} recipes (●) are on the frontier of {names}: no other one is at least as good in all of "
        f"them and better in one. The line in each chart is the frontier of its two axes alone.{bend} Open a recipe to read its steps.</p>"
    )


def _lineage(trials: Sequence[Trial], objectives: Sequence[str], device: str) -> str:
    """The map of steps: which recipe is made of which."""
    key = objectives[0]
    choice = choose(trials, View(x=objectives[1], y=key, device=device))
    info = lineage_info(trials, choice, key, "size_bytes")
    return _section("How the recipes are made of each other", lineage_figure(info), lineage_alt(info))


def _time_lapse(done: Sequence[Trial], objectives: Sequence[str], device: str) -> str:
    """How the frontier grew, to be played; "" where nobody kept when recipes were finished."""
    across = next(key for key in objectives if key != objectives[0])
    parts = time_lapse_parts(done, View(x=across, y=objectives[0], device=device))
    if parts is None:
        return ""
    figure, alt, about, controls, frames = parts
    played = f'<div class="lapse">{controls}<script type="application/json">{_json(frames)}</script></div>'
    return _section("How the frontier grew", figure, alt, about, controls=played)


def _devices(front: Front, baseline: Sequence[Trial]) -> str:
    """The frontier's recipes, and the baseline, on every device that there is a profile of; "" where no record says what they ask."""
    names = [name for name in profile_names() if name != HOST.name]
    on_front = {t.id for t in front.trials}
    seen = [*(t for t in baseline if t.id not in on_front), *front.trials[:MOST_ON_DEVICES]]
    projected = with_projections(seen, names)
    if not any(p.latency_ms for t in projected for p in (t.projections.get(name) for name in names) if p):
        return ""
    info = heat_map_info(projected, names)
    figure = heat_map_figure(info)
    # Numbers of so many columns would lie over each other; each cell tells its own when it is pointed at.
    figure.update_traces(texttemplate="", selector={"type": "heatmap"})
    figure.update_xaxes(tickangle=-90)
    about = (
        "Latency from published measurements of each device. Grey: it does not fit; empty: nothing is known. Point at a cell for its "
        "number and range."
    )
    # So that no name of a device lies over the next one, on a phone too.
    return _section("On other devices, estimated", figure, heat_map_alt(info), about, NAMES_PX + DEVICE_PX * len(names))


def _method(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """Where and how it was measured, and the spec that was run."""
    timed = next((t for t in trials if t.timing), None)
    told = {
        "Machine": "; ".join(sorted({t.machine.label for t in trials if t.machine})),
        "Versions": ", ".join(sorted({f"{n} {v}" for t in trials if t.machine for n, v in t.machine.versions.items()})),
        "Latency": "; ".join(timing_texts(timed.timing)) if timed and timed.timing else "",
        "Paretoscope": __version__,
    }
    lines = "".join(f"<dt>{text_html(name)}</dt><dd>{text_html(text)}</dd>" for name, text in told.items() if text)
    return f"<h2>Method and machine</h2><dl>{lines}</dl>"


def _network(baseline: Trial | None, front: Front, network_of: NetworkOf | None, layers_of: LayersOf | None) -> str:
    if network_of is None:
        return ""
    knee = next((t for t in front.trials if t.id == front.knee), None)
    return report_section(baseline, knee, network_of, layers_of)


def _failures(trials: Sequence[Trial]) -> str:
    return _told_why("Could not be made", [(t, t.error) for t in trials if t.state == "failed"]) + _told_why(
        "Stopped after screening", [(t, t.stopped) for t in trials if t.state == "stopped"]
    )


def _told_why(heading: str, trials: Sequence[tuple[Trial, str | None]]) -> str:
    if not trials:
        return ""
    lines = "".join(f"<li>{text_html(t.label)}: {text_html(why or 'unknown')}</li>" for t, why in trials[:MOST_ROWS])
    return f"<h2>{heading}</h2><ul>{lines}</ul>"


def _plotly() -> str:
    """plotly.js, from the installed package, packed and in letters; the same bytes every time."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
img-src data: blob:; base-uri 'none'; form-action 'none'">
<meta name="color-scheme" content="light dark"><title>{title}</title><style>{style}</style></head>
<body><main>
{body}
</main>
<script id="plotly" type="application/gzip">{plotly}</script>
<script>{start}</script></body></html>
"""

# plotly.js is a third as large packed, and every browser since 2023 unpacks; the page is there, with its table, before its charts are.
_START = """
(async () => {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(stream).text();
  document.head.append(library);
  %s
})();
"""
_NETWORKS = f'document.querySelectorAll(".network").forEach({JS.strip()});'
