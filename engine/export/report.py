"""A sweep as one HTML file that needs no network and no program: frontier charts that can be zoomed and hovered, and the table behind them.

plotly.js is inlined once; a Content-Security-Policy in the file forbids it, and everything else, to load anything from anywhere.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from engine import __version__
from engine.errors import SpecError
from engine.export.network import NetworkOf, report_section
from engine.export.zips import check_target, write_atomically
from engine.figures.frontier import frontier_alt, frontier_figure
from engine.figures.frontier_info import FrontierInfo, drawn_text, frontier_info
from engine.figures.graph import CSS, JS
from engine.frontier.columns import Trials
from engine.frontier.front import OBJECTIVES, Front, find_front
from engine.frontier.recommendation import View
from engine.metrics import METRICS, SHORT_PARTS, score_part, text_of
from engine.spec.labels import source_name
from engine.spec.sentences import recipe_texts
from engine.spec.sweep import Sweep
from engine.store.rows import SweepRow
from engine.trials.metric_values import is_slice, measured_metrics, metric_value, worst_slice
from engine.trials.text import is_estimated, metric_range, sums_text
from engine.trials.trial import Trial

MOST_ROWS = 2_000
"""A longer table makes browsers slow; every frontier recipe is in it, then the others in their order."""
_COLUMNS = ("size_bytes", "latency_ms", "latency_ratio", "energy_mj", "nonzero_params", "macs")


def write_report(
    target: Path,
    row: SweepRow,
    sweep: Sweep,
    trials: Sequence[Trial],
    objectives: Sequence[str] = OBJECTIVES,
    device: str = "host",
    network_of: NetworkOf | None = None,
) -> Path:
    """Write `report_html` to `target`, whole or not at all; a file that is there is replaced. Raises InputError, SpecError."""
    check_target(target, "report.html")
    write_atomically(target, report_html(row, sweep, trials, objectives, device, network_of).encode())
    return target


def report_html(
    row: SweepRow,
    sweep: Sweep,
    trials: Sequence[Trial],
    objectives: Sequence[str] = OBJECTIVES,
    device: str = "host",
    network_of: NetworkOf | None = None,
) -> str:
    """The whole page; the same sweep gives the same bytes.

    The first objective is drawn against each of the others; the table's frontier is that of all of them together. With `network_of` the
    baseline's network is drawn, and what the frontier's knee made of it, as far as their files are there. Raises SpecError for
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
    parts = [
        f"<h1>{_text(row.name)}</h1>",
        f'<p class="lead">{_lead(row, sweep, done, trials)}</p>',
        *(_figure(done, objectives[0], other, device) for other in dict.fromkeys(objectives[1:])),
        _frontier_words(front, objectives),
        _table(trials, front, device),
        _network(done, front, network_of),
        _failures(trials),
        f"<footer>Made by Paretoscope {_text(__version__)}. This file loads nothing from the network.</footer>",
    ]
    return _PAGE.format(
        title=_text(title), style=_STYLE + CSS, body="\n".join(parts), plotly=_plotly(), script=_SCRIPT + _NETWORKS
    )


def _text(text: str) -> str:
    return html.escape(" ".join(text.split()))


def _lead(row: SweepRow, sweep: Sweep, done: Sequence[Trial], trials: Sequence[Trial]) -> str:
    machines = sorted({t.machine.label for t in done if t.machine})
    where = f" Measured on {_text(' and on '.join(machines))}." if machines else ""
    return (
        f"{_text(source_name(sweep.model.source))} on {_text(source_name(sweep.data.source))}: "
        f"{len(done)} of {len(trials)} recipes measured. Sweep {_text(row.id)}, {_text(row.created)}, seed {sweep.seed}.{where}"
    )


def _figure(done: Sequence[Trial], y: str, x: str, device: str) -> str:
    """A place for a chart, its data beside it, and its buttons."""
    info = frontier_info(done, View(x=x, y=y, device=device))
    figure = frontier_figure(info, height=460)
    # The theme is given by the page, light or dark; plotly's own would weigh 8 kB a chart and paint over it.
    figure.update_layout(template="none")
    name = f"{METRICS[y].name} against {_in_a_sentence(x)}"
    return (
        f'<section><h2>{_text(name)}</h2><div class="chart" role="img" aria-label="{_text(frontier_alt(info))}"></div>'
        f'<script type="application/json">{_json(figure.to_json())}</script>'
        f"{_sampled(info)}"
        '<p class="buttons"><button type="button" data-format="svg">Save as SVG</button> '
        '<button type="button" data-format="png">Save as PNG</button></p></section>'
    )


def _sampled(info: FrontierInfo) -> str:
    text = drawn_text(info)
    return f'<p class="lead">{_text(text)}</p>' if text else ""


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
    bend = f" Past <b>{_label(knee)}</b> (◆), giving up more on one buys little on the others." if knee else ""
    return (
        f"<h2>Recipes</h2><p>{len(front.trials)} recipes (●) are on the frontier of {names}: no other one is at least as good in all of "
        f"them and better in one. The line in each chart is the frontier of its two axes alone.{bend} Open a recipe to read its steps.</p>"
    )


def _table(trials: Sequence[Trial], front: Front, device: str) -> str:
    on_front = {t.id for t in front.trials}
    done = [t for t in trials if t.state == "done"]
    shown = [t for t in done if t.id in on_front or not t.recipe.steps]
    others = [t for t in done if t.id not in on_front and t.recipe.steps]
    ids = {t.id for t in [*shown, *others[: max(0, MOST_ROWS - len(shown))]]}
    listed = [t for t in done if t.id in ids]
    measured = measured_metrics(listed, device)
    judged_by = Trials.of(trials).judged_by
    slices = [score_part(judged_by, part) for part in SHORT_PARTS]
    columns = [key for key in (judged_by, *slices, *_COLUMNS) if key in measured]
    head = "".join(f"<th scope=col>{_column(key, listed, device)}</th>" for key in columns)
    body = "\n".join(_row(t, columns, t.id in on_front, t.id == front.knee, device) for t in listed)
    left = (
        f"<p>{len(done) - len(listed):,} more recipes, all beaten, are left out.</p>" if len(listed) < len(done) else ""
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="Table of recipes"><table><thead><tr><th scope=col></th>'
        f"<th scope=col>Recipe</th>{head}<th scope=col>Truth</th></tr></thead><tbody>{body}</tbody></table></div>{left}"
    )


def _column(key: str, trials: Sequence[Trial], device: str) -> str:
    metric = METRICS[key]
    estimated = ", estimated" if any(is_estimated(t, key, device) for t in trials) else ""
    where = f" on {device}" if device != "host" and key in {"latency_ms", "energy_mj"} else ""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f'<abbr title="{_text(metric.help)}">{_text(metric.name + where + estimated + unit)}</abbr>'


def _row(trial: Trial, columns: Sequence[str], on_front: bool, is_knee: bool, device: str) -> str:
    mark = ("◆" if is_knee else "●") if on_front else "□" if not trial.recipe.steps else ""
    told = {"◆": "knee of the frontier", "●": "on the frontier", "□": "baseline"}.get(mark, "")
    steps = "".join(f"<li>{_text(text)}</li>" for text in recipe_texts(trial.recipe))
    notes = "".join(f"<p>{_text(note)}</p>" for note in (sums_text(trial), *trial.notes) if note)
    cells = "".join(f"<td>{_cell(trial, key, device)}</td>" for key in columns)
    return (
        f'<tr id="t-{_text(trial.id)}"{" class=front" if on_front else ""}><td title="{told}">{mark}</td>'
        f"<td><details><summary>{_label(trial)}</summary><ol>{steps}</ol>{notes}</details></td>{cells}"
        f"<td>{_text(trial.provenance)}</td></tr>"
    )


def _label(trial: Trial) -> str:
    """The recipe in words; a space that does not break keeps numbers and their unit together."""
    return _text(trial.label).replace(" %", "\u00a0%")


def _cell(trial: Trial, key: str, device: str) -> str:
    text = text_of(key, metric_value(trial, key, device), unit=False)
    ends = metric_range(trial, key, device)
    slice_ = worst_slice(trial.slices, key) if is_slice(key) else None
    where = f" <small>{_text(slice_.array)} {_text(slice_.value)}</small>" if slice_ else ""
    if not ends:
        return text + where
    return f"{text} <small>({text_of(key, ends[0], unit=False)} to {text_of(key, ends[1], unit=False)})</small>{where}"


def _network(done: Sequence[Trial], front: Front, network_of: NetworkOf | None) -> str:
    if network_of is None:
        return ""
    baseline = next((t for t in done if not t.recipe.steps), None)
    return report_section(baseline, next((t for t in front.trials if t.id == front.knee), None), network_of)


def _failures(trials: Sequence[Trial]) -> str:
    failed = [t for t in trials if t.state == "failed"]
    if not failed:
        return ""
    lines = "".join(f"<li>{_text(t.label)}: {_text(t.error or 'unknown')}</li>" for t in failed[:MOST_ROWS])
    return f"<h2>Could not be made</h2><ul>{lines}</ul>"


def _plotly() -> str:
    """plotly.js, from the installed package."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    # It is text inside a script element; only this could end it.
    return script.replace("</script", "<\\/script")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
img-src data: blob:; base-uri 'none'; form-action 'none'">
<meta name="color-scheme" content="light dark"><title>{title}</title><style>{style}</style></head>
<body><main>
{body}
</main>
<script>{plotly}</script>
<script>{script}</script></body></html>
"""

_STYLE = """
/* The networks' own looks follow the page's. */
:root { --graph-text: var(--text); --graph-line: var(--line); }
:root { --text: #1b2430; --soft: #5b6675; --line: #d9dee5; --back: #ffffff; --front: #eaf3fa; }
@media (prefers-color-scheme: dark) { :root { --text: #e8ecf1; --soft: #a2adba; --line: #323c49; --back: #10151c; --front: #16283a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.lead, footer, small { color: var(--soft); } .lead { margin: .25rem 0 0; overflow-wrap: anywhere; }
footer { margin-top: 3rem; font-size: .9rem; }
.chart { min-height: 460px; } .buttons { margin: .25rem 0; }
button { font: inherit; font-size: .85rem; color: var(--text); background: none; border: 1px solid var(--line); border-radius: .4rem;
  padding: .2rem .6rem; cursor: pointer; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; width: 100%; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
th { font-weight: 600; white-space: normal; vertical-align: bottom; } abbr { text-decoration: none; cursor: help; }
th:nth-child(2), td:nth-child(2), th:last-child, td:last-child { text-align: left; }
td:nth-child(2) { white-space: normal; min-width: 15rem; } tr.front { background: var(--front); }
tr.picked { outline: 2px solid #e08a00; outline-offset: -2px; } summary { cursor: pointer; } ol { margin: .25rem 0; padding-left: 1.3rem; }
@media print { button { display: none; } details > * { display: block; } }
"""

_SCRIPT = """
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colours = () => {
    const of = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { gridcolor: of("--line"), linecolor: of("--line"), zerolinecolor: of("--line"), tickcolor: of("--line") };
    return { text: of("--text"), back: of("--back"), axis };
  };
  const themed = (layout) => {
    const c = colours();
    return { ...layout, paper_bgcolor: c.back, plot_bgcolor: c.back, font: { color: c.text, family: "system-ui, sans-serif" },
      hoverlabel: { bgcolor: c.back, bordercolor: c.axis.linecolor, font: { color: c.text } },
      xaxis: { ...layout.xaxis, ...c.axis }, yaxis: { ...layout.yaxis, ...c.axis } };
  };
  const pick = (id) => {
    document.querySelectorAll("tr.picked").forEach((row) => row.classList.remove("picked"));
    const row = document.getElementById("t-" + id);
    if (!row) return;
    row.classList.add("picked");
    row.querySelector("details").open = true;
    row.scrollIntoView({ block: "center" });
  };
  for (const section of document.querySelectorAll("section:has(.chart)")) {
    const chart = section.querySelector(".chart");
    const figure = JSON.parse(section.querySelector("script").textContent);
    const name = document.title.replace(/[^\\w-]+/g, "-");
    Plotly.newPlot(chart, figure.data, themed(figure.layout), { responsive: true, displaylogo: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "toImage"] });
    chart.on("plotly_click", (event) => { const data = event.points[0].customdata; if (data) pick(data[0]); });
    // Layouts are merged, so zoom stays when the colours change.
    dark.addEventListener("change", () => {
      const { paper_bgcolor, plot_bgcolor, font, hoverlabel, xaxis } = themed({});
      const axes = {};
      for (const key of Object.keys(xaxis)) for (const axis of ["xaxis", "yaxis"]) axes[axis + "." + key] = xaxis[key];
      Plotly.relayout(chart, { paper_bgcolor, plot_bgcolor, font, hoverlabel, ...axes });
    });
    for (const button of section.querySelectorAll("button"))
      button.addEventListener("click", () => Plotly.downloadImage(chart, { format: button.dataset.format, width: 1000, height: 560,
        scale: button.dataset.format === "png" ? 2 : 1, filename: name }));
  }
})();
"""
_NETWORKS = f'document.querySelectorAll(".network").forEach({JS.strip()});'
