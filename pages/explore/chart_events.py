"""What Streamlit does not tell of a chart: clicks in one that has no selection of its own, and how far it is zoomed or turned.

Streamlit draws a chart whose figure has changed as a new element, so zoom is lost unless the new figure carries it; and it reports clicks
of flat charts alone (both tried with 1.67). This listens to Plotly's own events (`plotly_click`, `plotly_relayout`) in the browser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from pages.shared import address, shell
from pages.shared import explore_address as state

_JS = """
export default function (component) {
  const { data, setTriggerValue } = component;
  let chart = null, told = null, pressed = null, clicked = null, stayed = false;
  const zoom = () => {
    const axes = {};
    for (const [name, axis] of Object.entries(chart._fullLayout)) {
      if (/^[xy]axis[0-9]*$/.test(name) && !axis.autorange && !axis.fixedrange) axes[name] = axis.range;
    }
    const found = { of: chart._fullLayout.uirevision, axes };
    const scene = chart._fullLayout.scene;
    if (scene && scene._scene) found.camera = scene._scene.getCamera();
    return found;
  };
  const onRelayout = () => {
    const now = JSON.stringify(zoom());
    if (now !== told) setTriggerValue('zoomed', JSON.parse(told = now));
  };
  // In space Plotly tells of a click when it next draws with the button down, maybe after it went up, and also when one begins to
  // turn the view: a click is told on when the pointer stayed where it was.
  const tell = () => {
    if (clicked && stayed) setTriggerValue('clicked', clicked);
    if (stayed) clicked = null;
  };
  const onPointerDown = event => { pressed = [event.clientX, event.clientY]; clicked = null; stayed = false; };
  const onPointerUp = event => {
    stayed = pressed !== null && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < 4;
    tell();
  };
  const onClick = event => {
    const owner = event.points && event.points[0] && event.points[0].customdata;
    clicked = owner && owner[0] ? owner[0] : null;
    if (!chart._fullLayout.scene) stayed = true;
    tell();
  };
  const leave = () => {
    if (!chart) return;
    // Plotly takes its methods off a chart that is gone.
    chart.removeListener?.('plotly_relayout', onRelayout);
    chart.removeListener?.('plotly_click', onClick);
    chart.removeEventListener('pointerdown', onPointerDown, true);
    chart.removeEventListener('pointerup', onPointerUp, true);
    chart = null;
  };
  // A chart that is drawn anew is another element.
  const follow = () => {
    const found = document.querySelector(`.st-key-${data.chart} .js-plotly-plot`);
    if (found === chart || !found || !found.on || !found._fullLayout) return;
    leave();
    chart = found;
    told = JSON.stringify(zoom());
    chart.on('plotly_relayout', onRelayout);
    if (data.clicks) {
      chart.on('plotly_click', onClick);
      chart.addEventListener('pointerdown', onPointerDown, true);
      chart.addEventListener('pointerup', onPointerUp, true);
    }
  };
  follow();
  const timer = setInterval(follow, 200);
  return () => { clearInterval(timer); leave(); };
}
"""
_component = st.components.v2.component("paretoscope_chart_events", js=_JS)

_ZOOMS = "chart zooms"
_MOST_ZOOMS = 12


def listen(chart: str, on_click: Callable[[str], None] | None, on_zoom: Callable[[], None]) -> None:
    """Follow the chart of this key: keep its zoom for `last_zoom`, then call `on_zoom`; call `on_click`, if any, with a clicked trial."""
    key = f"events of {chart}"

    def clicked() -> None:
        trial = st.session_state[key].get("clicked")
        if on_click and isinstance(trial, str):
            on_click(trial)
            st.session_state[f"{key} told"] = True

    def moved() -> None:
        _keep(st.session_state[key].get("zoomed"))
        st.session_state[f"{key} moved"] = True

    # In a fragment, because a zoom changes nothing else on the page.
    @shell.fragment()
    def events() -> None:
        _component(
            key=key,
            data={"chart": chart.replace(" ", "-"), "clicks": on_click is not None},
            height=1,
            on_clicked_change=clicked,
            on_zoomed_change=moved,
        )
        if st.session_state.pop(f"{key} told", False):
            address.rerun()
        if st.session_state.pop(f"{key} moved", None):
            on_zoom()

    events()


def _keep(found: object) -> None:
    """Remember a zoom by the chart's axes; what comes from a browser may be anything."""
    if isinstance(found, Mapping) and isinstance(found.get("of"), str):
        remember(found["of"], state.zoom_of(found.get("axes"), found.get("camera")))


def remember(chart: str, to: Mapping[str, Any]) -> None:
    """How far in a chart is, `chart` being its `uirevision`; nothing for one that is not zoomed."""
    zooms: dict[str, Mapping[str, Any]] = st.session_state.setdefault(_ZOOMS, {})
    zooms.pop(chart, None)
    if to:
        zooms[chart] = to
    while len(zooms) > _MOST_ZOOMS:
        del zooms[next(iter(zooms))]


def last_zoom(figure: go.Figure) -> Mapping[str, Any]:
    """How a chart of the same axes was zoomed last in this visit; empty where it was not."""
    found: Mapping[str, Any] = st.session_state.get(_ZOOMS, {}).get(figure.layout.uirevision, {})
    return found


def zoom(figure: go.Figure, to: Mapping[str, Any]) -> None:
    """Draw a figure as far in as `last_zoom` said."""
    for name, value in to.items():
        if name == "camera":
            figure.update_layout(scene_camera=value)
        elif name in figure.layout:
            figure.layout[name].update(range=value, autorange=False)
