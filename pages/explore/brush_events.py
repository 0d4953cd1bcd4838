"""Dragging on a chart to mark recipes, and the marked ones seen in it: in the browser alone, so that the chart is never drawn anew for it.

Streamlit draws a chart whose figure has changed as a new element, which would take it from under the pointer; so nothing of a brush is in
a figure. The outline lies over the chart, and the other marks fade by a class of their own, put on again whenever Plotly has drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from engine.frontier.brush import MOST_CORNERS
from pages.shared import address, shell

_JS = """
const MOST_CORNERS = MOST_CORNERS_HERE, NEAR = 18, STILL = 5, NS = 'http://www.w3.org/2000/svg';
const STYLE = 'paretoscope-brush-style';
if (!document.getElementById(STYLE)) {
  const style = document.createElement('style');
  style.id = STYLE;
  style.textContent = `
    .js-plotly-plot .point.brush-out { opacity: 0.12 !important; }
    .js-plotly-plot .js-line.brush-out { opacity: 0.15 !important; }
    .brush-over { position: absolute; left: 0; top: 0; pointer-events: none; overflow: hidden; }
    .brush-over .area { fill: rgba(230, 159, 0, 0.16); stroke: #D98E00; stroke-width: 1.5; stroke-dasharray: 5 3; }
    .brush-over .line { fill: none; stroke-width: 2; opacity: 0.85; }
    .js-plotly-plot.brush-tool .nsewdrag { cursor: crosshair !important; }`;
  document.head.appendChild(style);
}
const simplified = (points, most) => {
  // Ramer, Douglas and Peucker's way, with a tolerance that grows until few enough are left.
  const far = (p, a, b) => {
    const [dx, dy] = [b[0] - a[0], b[1] - a[1]], length = Math.hypot(dx, dy);
    return length ? Math.abs(dy * (p[0] - a[0]) - dx * (p[1] - a[1])) / length : Math.hypot(p[0] - a[0], p[1] - a[1]);
  };
  const thin = (from, tolerance) => {
    const keep = new Uint8Array(from.length), todo = [[0, from.length - 1]];
    keep[0] = keep[from.length - 1] = 1;
    while (todo.length) {
      const [a, b] = todo.pop();
      let worst = tolerance, at = -1;
      for (let i = a + 1; i < b; i++) {
        const d = far(from[i], from[a], from[b]);
        if (d > worst) [worst, at] = [d, i];
      }
      if (at > 0) { keep[at] = 1; todo.push([a, at], [at, b]); }
    }
    return from.filter((_, i) => keep[i]);
  };
  for (let tolerance = 1; ; tolerance *= 1.5) {
    const found = thin(points, tolerance);
    if (found.length <= most) return found;
  }
};
export default function (component) {
  const { data, setTriggerValue } = component;
  const lit = data.ids ? new Set(data.ids) : null, axes = data.rows > 0, tool = axes ? 'axis' : data.tool;
  let chart = null, over = null, drag = null;
  const make = (name, attributes, parent) => {
    const found = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
    return parent.appendChild(found);
  };
  const shape = (points, parent) => make('polygon', { class: 'area', points: points.map(p => p.join(',')).join(' ') }, parent);
  const pane = subplot => chart._fullLayout._plots && chart._fullLayout._plots[subplot];
  const ends = (axis, range) => {
    const whole = [axis._offset, axis._offset + axis._length];
    if (!range) return whole;
    const at = range.map(v => axis._offset + axis.l2p(axis.type === 'log' ? Math.log10(v) : v));
    return at.map((v, i) => Number.isFinite(v) ? Math.min(whole[1], Math.max(whole[0], v)) : whole[i]);
  };
  const traces = visit => chart.querySelectorAll('.scatterlayer .trace').forEach(group => {
    const drawn = group.__data__, trace = drawn && drawn[0] && drawn[0].trace;
    if (trace && trace.customdata && trace.name !== 'selected') visit(group, drawn, trace);
  });
  const litLines = () => {
    const found = pane('xy');
    if (!found) return;
    const { xaxis, yaxis } = found;
    traces((group, drawn, trace) => {
      if (!trace.mode.includes('lines')) return;
      const lines = new Map();
      for (const d of drawn) {
        const owner = trace.customdata[d.i] && trace.customdata[d.i][0];
        if (!lit.has(owner) || !Number.isFinite(d.x) || !Number.isFinite(d.y)) continue;
        if (!lines.has(owner)) lines.set(owner, []);
        lines.get(owner).push([xaxis._offset + xaxis.l2p(d.x), yaxis._offset + yaxis.l2p(d.y)].join(','));
      }
      for (const points of lines.values()) {
        make('polyline', { class: 'line', points: points.join(' '), stroke: trace.line.color, 'stroke-opacity': 1 }, over);
      }
    });
  };
  const draw = () => {
    if (!chart || !chart._fullLayout) return;
    const { width, height } = chart._fullLayout;
    over.setAttribute('width', width);
    over.setAttribute('height', height);
    over.replaceChildren();
    chart.classList.toggle('brush-tool', !axes && tool !== 'move');
    traces((group, drawn, trace) => {
      group.querySelectorAll('.js-line').forEach(line => line.classList.toggle('brush-out', lit !== null && axes));
      group.querySelectorAll('.point').forEach(point => {
        const owner = trace.customdata[point.__data__ && point.__data__.i];
        point.classList.toggle('brush-out', lit !== null && Boolean(owner) && !lit.has(owner[0]));
      });
    });
    if (lit !== null && axes) litLines();
    for (const band of data.shapes) {
      const found = pane(band.subplot);
      if (!found) continue;
      const { xaxis, yaxis } = found;
      if (band.corners) {
        shape(band.corners.map(([x, y]) => [xaxis._offset + xaxis.l2p(x), yaxis._offset + yaxis.l2p(y)]), over);
      } else if (band.row !== undefined) {
        const y = yaxis._offset + yaxis.l2p(band.row), [a, b] = ends(xaxis, band.x);
        shape([[a, y - 9], [b, y - 9], [b, y + 9], [a, y + 9]], over);
      } else {
        const [a, b] = ends(xaxis, band.x), [c, d] = ends(yaxis, band.y);
        shape([[a, c], [b, c], [b, d], [a, d]], over);
      }
    }
  };
  const hide = () => over.replaceChildren();
  const place = event => {
    const box = over.parentElement.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  // Which pane, or which axis of parallel ones, a pointer is on.
  const under = (event, at) => {
    if (axes) {
      const found = pane('xy');
      if (!found) return null;
      const { xaxis, yaxis } = found, row = Math.round(yaxis.p2l(at[1] - yaxis._offset));
      const near = Math.abs(yaxis._offset + yaxis.l2p(row) - at[1]) <= NEAR;
      const within = at[0] >= xaxis._offset && at[0] <= xaxis._offset + xaxis._length;
      return near && within && row >= 0 && row < data.rows ? { subplot: 'xy', row } : null;
    }
    const subplot = event.target.dataset && event.target.dataset.subplot;
    return event.target.classList.contains('nsewdrag') && pane(subplot) ? { subplot } : null;
  };
  const onDown = event => {
    if (tool === 'move' || event.button > 0 || !event.isPrimary) return;
    const at = place(event), where = under(event, at);
    if (!where) return;
    drag = { ...where, points: [at], moved: false };
    addEventListener('pointermove', onMove);
    addEventListener('pointerup', onUp);
    addEventListener('pointercancel', stop);
    addEventListener('keydown', onKey);
  };
  const stop = () => {
    drag = null;
    removeEventListener('pointermove', onMove);
    removeEventListener('pointerup', onUp);
    removeEventListener('pointercancel', stop);
    removeEventListener('keydown', onKey);
    draw();
  };
  const onKey = event => { if (event.key === 'Escape') stop(); };
  const inPane = at => {
    const { xaxis, yaxis } = pane(drag.subplot);
    const clip = (axis, v) => Math.min(axis._offset + axis._length, Math.max(axis._offset, v));
    return [clip(xaxis, at[0]), clip(yaxis, at[1])];
  };
  const outline = () => {
    const [first, last] = [drag.points[0], drag.points[drag.points.length - 1]];
    if (tool === 'lasso') return drag.points;
    if (tool === 'axis') {
      const { yaxis } = pane('xy'), y = yaxis._offset + yaxis.l2p(drag.row);
      return [[first[0], y - 9], [last[0], y - 9], [last[0], y + 9], [first[0], y + 9]];
    }
    return [first, [last[0], first[1]], last, [first[0], last[1]]];
  };
  const onMove = event => {
    const at = inPane(place(event)), first = drag.points[0];
    drag.moved = drag.moved || Math.hypot(at[0] - first[0], at[1] - first[1]) > STILL;
    if (!drag.moved) return;
    drag.points.push(at);
    over.replaceChildren();
    shape(outline(), over);
  };
  const onUp = event => {
    const done = drag;
    if (!done.moved) {
      const hit = event.pointerType !== 'touch' && chart._hoverdata && chart._hoverdata[0] && chart._hoverdata[0].customdata;
      stop();
      if (hit && hit[0]) setTriggerValue('clicked', hit[0]);
      return;
    }
    const { xaxis, yaxis } = pane(done.subplot), [first, last] = [done.points[0], done.points[done.points.length - 1]];
    const x = v => xaxis.p2l(v - xaxis._offset), y = v => yaxis.p2l(v - yaxis._offset);
    const told = { subplot: done.subplot, logs: [xaxis.type === 'log', yaxis.type === 'log'] };
    if (tool === 'lasso') told.corners = simplified(done.points, MOST_CORNERS).map(p => [x(p[0]), y(p[1])]);
    else {
      told.x = [x(first[0]), x(last[0])];
      if (axes) told.row = done.row; else told.y = [y(first[1]), y(last[1])];
    }
    stop();
    // The outline stays where it was drawn until the page answers.
    shape(tool === 'lasso' ? done.points : ((drag = done), outline()), over);
    drag = null;
    setTriggerValue('brushed', told);
  };
  // Plotly would move or zoom what is dragged over, and take a drag from one mark to another for a click.
  const onPress = event => { if (drag) event.stopPropagation(); };
  // `touch-action` is not heard within an SVG (Chromium 156): a finger on a pane draws, one along an axis, too, any other scrolls.
  const onFinger = event => {
    if (!drag) return;
    const at = place(event.touches[0]), first = drag.points[0];
    if (!axes || Math.abs(at[0] - first[0]) >= Math.abs(at[1] - first[1])) event.preventDefault();
  };
  const onTwice = event => {
    const where = tool === 'move' ? null : under(event, place(event));
    if (where && lit !== null) setTriggerValue('brushed', { ...where, none: true });
  };
  const leave = () => {
    if (!chart) return;
    chart.removeListener?.('plotly_afterplot', draw);
    chart.removeListener?.('plotly_relayouting', hide);
    for (const [name, listener] of Object.entries(listeners)) chart.removeEventListener(name, listener, true);
    chart.classList.remove('brush-tool');
    over.remove();
    chart = null;
  };
  const listeners = { pointerdown: onDown, mousedown: onPress, touchstart: onPress, touchmove: onFinger, dblclick: onTwice };
  const follow = () => {
    const found = document.querySelector(`.st-key-${data.chart} .js-plotly-plot`);
    if (found === chart || !found || !found.on || !found._fullLayout || !found.querySelector('.svg-container')) return;
    leave();
    chart = found;
    over = document.createElementNS(NS, 'svg');
    over.setAttribute('class', 'brush-over');
    over.setAttribute('aria-hidden', 'true');
    chart.querySelector('.svg-container').appendChild(over);
    chart.on('plotly_afterplot', draw);
    chart.on('plotly_relayouting', hide);
    for (const [name, listener] of Object.entries(listeners)) {
      chart.addEventListener(name, listener, { capture: true, passive: false });
    }
    draw();
  };
  // Called again with other data, it takes over from itself: what it returns is called at the very end alone.
  const running = window.paretoscopeBrushes ||= {};
  running[data.chart]?.();
  follow();
  const timer = setInterval(follow, 200);
  const end = () => { clearInterval(timer); if (drag) stop(); leave(); };
  running[data.chart] = end;
  return end;
}
""".replace("MOST_CORNERS_HERE", str(MOST_CORNERS))
_component = st.components.v2.component("paretoscope_brush_events", js=_JS)
TOOL = "explore tool"
_TOOLS = {"move": ":material/pan_tool: Move", "box": ":material/select: Box", "lasso": ":material/lasso_select: Lasso"}


def listen(
    chart: str,
    rows: int,
    tools: bool,
    ids: Sequence[str] | None,
    shapes: Sequence[Mapping[str, Any]],
    on_brush: Callable[[Mapping[str, Any]], None],
    on_click: Callable[[str], None],
) -> None:
    """Follow the chart of this key: fade all marks but those of `ids`, draw `shapes` over it, tell of what is dragged and clicked.

    `rows` is how many parallel axes it has, `tools` whether to offer a choice of what dragging in its panes does.
    """
    key = f"brush of {chart}"

    def brushed() -> None:
        found = st.session_state[key].get("brushed")
        if isinstance(found, Mapping):
            on_brush(found)
            st.session_state[f"{key} told"] = True

    def clicked() -> None:
        trial = st.session_state[key].get("clicked")
        if isinstance(trial, str):
            on_click(trial)
            st.session_state[f"{key} told"] = True

    # In a fragment: what dragging does changes nothing else on the page.
    @shell.fragment()
    def events() -> None:
        tool: str | None = "move"
        if tools:
            st.session_state[TOOL] = st.session_state.get(TOOL) or "move"
            tool = st.segmented_control(
                "Dragging",
                list(_TOOLS),
                format_func=_TOOLS.__getitem__,
                key=TOOL,
                label_visibility="collapsed",
                required=True,
                help="What dragging does: move the chart, or mark recipes with a box or a loop. A filter, below the chart, does as much "
                "by typing.",
            )
        _component(
            key=key,
            data={
                "chart": chart.replace(" ", "-"),
                "rows": rows,
                "tool": tool,
                "ids": None if ids is None else list(ids),
                "shapes": list(shapes),
            },
            height=1,
            on_brushed_change=brushed,
            on_clicked_change=clicked,
        )
        if st.session_state.pop(f"{key} told", False):
            address.rerun()

    events()
