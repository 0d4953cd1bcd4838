"""A square to draw in, with a mouse or a finger. What comes back is a PNG like any upload, and is checked like one."""

from __future__ import annotations

import base64
import binascii

import streamlit as st

SIDE = 280
"""Pixels of the square."""
_PREFIX = "data:image/png;base64,"
_MOST = 4_000_000

_HTML = f"""
<canvas width="{SIDE}" height="{SIDE}" role="img" aria-label="A dark square to draw in with a light pen"></canvas>
<div class="tools"><button type="button">Clear</button>
<label>Pen <input type="range" min="6" max="40" value="18" aria-label="Width of the pen"></label></div>
"""
_CSS = """
canvas { display: block; max-width: 100%; border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius);
  touch-action: none; cursor: crosshair; }
.tools { display: flex; gap: 1rem; align-items: center; margin-top: .5rem; font-family: var(--st-font); color: var(--st-text-color);
  font-size: .875rem; }
button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--st-border-color);
  border-radius: var(--st-base-radius); padding: .25rem .75rem; cursor: pointer; }
"""
# The square is set up once; each stroke that ends sends the whole picture.
_JS = """
export default function ({ parentElement, setStateValue }) {
  const canvas = parentElement.querySelector("canvas"), pen = canvas.getContext("2d");
  if (canvas.dataset.ready) return;
  canvas.dataset.ready = "yes";
  const width = parentElement.querySelector("input");
  const clear = () => { pen.fillStyle = "#000"; pen.fillRect(0, 0, canvas.width, canvas.height); };
  const at = (event) => {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  let drawing = false;
  canvas.onpointerdown = (event) => {
    drawing = true;
    canvas.setPointerCapture(event.pointerId);
    pen.strokeStyle = "#fff"; pen.lineCap = pen.lineJoin = "round"; pen.lineWidth = Number(width.value);
    pen.beginPath(); pen.moveTo(...at(event)); pen.lineTo(...at(event)); pen.stroke();
  };
  canvas.onpointermove = (event) => { if (drawing) { pen.lineTo(...at(event)); pen.stroke(); } };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (drawing) setStateValue("picture", canvas.toDataURL("image/png"));
    drawing = false;
  };
  parentElement.querySelector("button").onclick = () => { clear(); setStateValue("picture", null); };
  clear();
}
"""
_canvas = st.components.v2.component("paretoscope_drawing", html=_HTML, css=_CSS, js=_JS)


def square(key: str) -> bytes | None:
    """Draw the square; the drawing as a PNG, None as long as there is none, or what the browser sent is none."""
    sent = _canvas(key=key, default={"picture": None}, on_picture_change=lambda: None).picture
    if not isinstance(sent, str) or not sent.startswith(_PREFIX) or len(sent) > _MOST:
        return None
    try:
        return base64.b64decode(sent.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        return None
