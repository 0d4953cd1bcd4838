"""The picture of a network as SVG, and around it what zooms, finds and saves: the same on pages, in a report and as a file of its own.

SVG and not Plotly, because here text belongs to its box: it grows and shrinks with it, so that names of a thousand layers never overlap.
Nothing is loaded from anywhere.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from engine.figures.graph_info import HEIGHT, WIDTH, GraphInfo, Line, Mark

CSS = """
.network { color: var(--graph-text); font: 14px/1.4 var(--graph-font, system-ui, sans-serif); }
.network .tools { display: flex; flex-wrap: wrap; gap: .35rem; align-items: center; margin-bottom: .35rem; }
.network .tools button, .network .tools input { font: inherit; font-size: 13px; color: inherit; background: transparent;
  border: 1px solid var(--graph-line); border-radius: .4rem; padding: .15rem .55rem; min-height: 1.8rem; }
.network .tools button { cursor: pointer; }
.network .tools input { flex: 1 1 8rem; max-width: 16rem; min-width: 6rem; }
.network .legend { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: 13px; margin: .2rem 0 .4rem; padding: 0; list-style: none; }
.network .legend i { display: inline-block; width: .8rem; height: .8rem; margin-right: .35rem; border-radius: .15rem;
  vertical-align: -.08rem; }
.network .pane { overflow: auto; max-height: var(--graph-height, 560px); border: 1px solid var(--graph-line); border-radius: .5rem;
  cursor: grab; overscroll-behavior: auto; }
.network .pane:active { cursor: grabbing; }
.network .pane svg { display: block; margin: 0 auto; }
.network [hidden] { display: none !important; }
.network .mark { cursor: pointer; outline: none; }
.network .mark:focus-visible rect, .network .mark.picked rect { stroke: var(--graph-text); stroke-width: 3; stroke-dasharray: none; }
.network .about { white-space: pre-line; font-size: 13px; margin: .4rem 0 0; overflow-wrap: anywhere; min-height: 1.4em; }
"""
# A function that a page and a report call alike: what it is given holds what `graph_html` made.
JS = """
(root) => {
  const pane = root.querySelector(".pane"), about = root.querySelector(".about");
  if (!pane || pane.dataset.ready) return;
  pane.dataset.ready = "yes";
  // One picture, or two: blocks that repeat together, and each layer by itself.
  const pictures = [...pane.querySelectorAll("svg")], legends = [...root.querySelectorAll(".legend")];
  const together = root.querySelector('[data-does="together"]');
  let svg, width, height, size, shown = 0, scale = 1;
  const use = (number) => {
    shown = number; svg = pictures[number];
    pictures.forEach((other, i) => other.toggleAttribute("hidden", i !== number));
    legends.forEach((other, i) => other.toggleAttribute("hidden", i !== number));
    width = svg.viewBox.baseVal.width; height = svg.viewBox.baseVal.height;
    scale = parseFloat(svg.getAttribute("width")) / width;
    size = pictures.map((other) => `${other.viewBox.baseVal.width} ${other.viewBox.baseVal.height}`).join(" ");
    if (together) together.textContent = number ? "Blocks together" : "Every block";
  };
  use(0);
  const zoom = (wanted, x, y) => {
    const next = Math.min(4, Math.max(0.02, wanted));
    const at = [x ?? pane.clientWidth / 2, y ?? pane.clientHeight / 2];
    const left = (pane.scrollLeft + at[0]) / scale, top = (pane.scrollTop + at[1]) / scale;
    scale = next;
    svg.setAttribute("width", width * scale); svg.setAttribute("height", height * scale);
    pane.scrollLeft = left * scale - at[0]; pane.scrollTop = top * scale - at[1];
  };
  // The same network in other colours is looked at where it was.
  pane.onscroll = () => { root.view = { size, shown, scale, left: pane.scrollLeft, top: pane.scrollTop }; };
  const fit = () => zoom(Math.min(pane.clientWidth / width, (parseFloat(getComputedStyle(pane).maxHeight) || 560) / height));
  const show = (mark) => {
    const box = mark.querySelector("rect").getBBox();
    pane.scrollLeft = (box.x + box.width / 2) * scale - pane.clientWidth / 2;
    pane.scrollTop = (box.y + box.height / 2) * scale - pane.clientHeight / 2;
  };
  const pick = (mark) => {
    root.querySelectorAll(".picked").forEach((other) => other.classList.remove("picked"));
    if (mark) mark.classList.add("picked");
    about.textContent = mark ? mark.querySelector("title").textContent : about.dataset.hint;
  };
  const readable = () => zoom(Math.min(1, Math.max(0.8, pane.clientWidth / width)));
  // Blocks are opened where their first layer is.
  const open = (mark) => {
    const first = [...pictures[1].querySelectorAll(".mark")][mark.dataset.opens];
    use(1); readable(); pick(mark); mark.classList.remove("picked"); first.classList.add("picked"); show(first);
  };
  const chosen = (mark) => mark && mark.dataset.opens && pictures[1] ? open(mark) : pick(mark);
  // Readable from the first moment: as wide as there is room, never so small that names are a blur.
  const begin = () => {
    if (!pane.clientWidth) return false;
    const before = root.view;
    if (before && before.size === size) {
      use(before.shown); zoom(before.scale);
      pane.scrollLeft = before.left; pane.scrollTop = before.top;
      return true;
    }
    readable();
    const first = svg.querySelector(".mark");
    if (first) { show(first); pane.scrollTop = 0; }
    return true;
  };
  if (!begin()) {
    // Folded away, or not laid out yet.
    const seen = new ResizeObserver(() => { if (begin()) seen.disconnect(); });
    seen.observe(pane);
  }
  for (const button of root.querySelectorAll("button")) button.onclick = () => {
    const does = button.dataset.does;
    if (does === "in") zoom(scale * 1.3);
    if (does === "out") zoom(scale / 1.3);
    if (does === "fit") fit();
    if (does === "together") { use(1 - shown); readable(); pick(null); show(svg.querySelector(".mark")); pane.scrollTop = 0; }
    if (does === "save") {
      const copy = svg.cloneNode(true);
      copy.style.color = "#1b2430"; copy.style.background = "#ffffff";
      copy.setAttribute("width", width); copy.setAttribute("height", height);
      const link = document.createElement("a");
      link.href = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(copy));
      link.download = "network.svg"; link.click();
    }
  };
  pane.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = pane.getBoundingClientRect();
    zoom(scale * Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  let held = null;
  pane.onpointerdown = (event) => {
    if (event.pointerType === "mouse" && event.button === 0)
      held = [event.clientX, event.clientY, pane.scrollLeft, pane.scrollTop, false];
  };
  pane.onpointermove = (event) => {
    if (!held) return;
    const dx = event.clientX - held[0], dy = event.clientY - held[1];
    if (!held[4] && Math.hypot(dx, dy) < 4) return;
    if (!held[4]) { held[4] = true; pane.setPointerCapture(event.pointerId); }
    pane.scrollLeft = held[2] - dx; pane.scrollTop = held[3] - dy;
  };
  pane.onpointerup = pane.onpointercancel = () => { held = null; };
  for (const picture of pictures) {
    picture.onclick = (event) => chosen(event.target.closest(".mark"));
    picture.onkeydown = (event) => { if (event.key === "Enter") chosen(event.target.closest(".mark")); };
  }
  const find = root.querySelector("input");
  let last = -1;
  find.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    const words = find.value.trim().toLowerCase(), marks = [...pictures.at(-1).querySelectorAll(".mark")];
    const hits = marks.filter((mark) => words && mark.querySelector("title").textContent.toLowerCase().includes(words));
    last = hits.length ? (last + 1) % hits.length : -1;
    if (hits.length && shown !== pictures.length - 1) { use(pictures.length - 1); readable(); }
    pick(hits[last]);
    if (hits.length) show(hits[last]); else about.textContent = words ? "No layer says that." : about.dataset.hint;
  };
  find.oninput = () => { last = -1; };
}
"""
_HINT = "Click a box for all that is known of it{}. Drag or scroll to move; Ctrl and the wheel zoom."


def graph_html(info: GraphInfo, opens: bool = True) -> str:
    """The picture with its tools and legend, for a place with the class `network`; `JS` brings it to life, and without it scrolls.

    Blocks that repeat are together at first; without `opens` they stay so, and the page is smaller.
    """
    pictures = [info.together, info] if info.together and opens else [info.together or info]
    legends = "".join(
        f'<ul class="legend" aria-label="{html.escape(picture.title)}"{" hidden" * bool(i)}>{_legend(picture)}</ul>'
        for i, picture in enumerate(pictures)
    )
    hint = _HINT.format(", blocks to open them" if len(pictures) > 1 else "")
    both = '<button type="button" data-does="together">Every block</button>' if len(pictures) > 1 else ""
    drawn = "".join(graph_svg(picture, i > 0, len(pictures) > 1) for i, picture in enumerate(pictures))
    return (
        '<div class="tools"><button type="button" data-does="in" aria-label="Zoom in">+</button>'
        '<button type="button" data-does="out" aria-label="Zoom out">−</button>'
        f'<button type="button" data-does="fit">Whole</button>{both}'
        '<button type="button" data-does="save">Save as SVG</button>'
        '<input type="search" placeholder="Find a layer" aria-label="Find a layer, then Enter"></div>'
        f'{legends}<div class="pane" tabindex="0" role="region" aria-label="{html.escape(info.about)}">{drawn}</div>'
        f'<p class="about" aria-live="polite" data-hint="{hint}">{hint}</p>'
    )


def _legend(info: GraphInfo) -> str:
    return "".join(
        f'<li><i style="background:{colour}"></i>{html.escape(text)}: {count:,}</li>'
        for text, colour, count in info.legend
    )


def graph_svg(info: GraphInfo, hidden: bool = False, opens: bool = False) -> str:
    """The picture alone. Its text and lines have the colour of the text around it. `opens`: whether another shows blocks opened."""
    lines = "".join(_line(line) for line in info.lines)
    marks = "".join(_mark(mark, opens) for mark in info.marks)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {info.width:.0f} {info.height:.0f}" width="{info.width:.0f}" '
        f'height="{info.height:.0f}" role="img" aria-label="{html.escape(info.about)}"{" hidden" * hidden} '
        f'font-family="system-ui, sans-serif"><g fill="none" stroke-width="1.3">{lines}</g><g fill="currentColor">{marks}</g></svg>'
    )


def _line(line: Line) -> str:
    colour = f'stroke="{line.colour}"' if line.colour else 'stroke="currentColor" stroke-opacity=".4"'
    dash = ' stroke-dasharray="5 4"' if line.is_dashed else ""
    return f'<path d="{_curve(line.points)}" {colour}{dash}/>'


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """Straight down past boxes, in curves that leave and arrive upright between layers."""
    (x, y), *rest = points
    parts = [f"M{x:.0f} {y:.0f}"]
    for to_x, to_y in rest:
        middle = (y + to_y) / 2
        straight = abs(to_x - x) < 0.5
        parts.append(
            f"V{to_y:.0f}" if straight else f"C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}"
        )
        x, y = to_x, to_y
    return "".join(parts)


def _mark(mark: Mark, opens: bool) -> str:
    x, y = round(mark.x), round(mark.y)
    colour = (
        f'fill="{mark.colour}" stroke="{mark.colour}"'
        if mark.colour
        else 'fill="none" stroke="currentColor" stroke-opacity=".5" pointer-events="all"'
    )
    dash = ' stroke-dasharray="5 3"' if mark.is_dashed else ""
    band = f'<path d="M{x + 4} {y + 1}v{HEIGHT - 2}" stroke="{mark.colour}" stroke-width="7"/>' if mark.colour else ""
    value = (
        f'<text x="{x + WIDTH - 8}" y="{y + 17}" text-anchor="end" font-size="11">{html.escape(mark.value)}</text>'
        if mark.value
        else ""
    )
    name = (
        f'<text x="{x + 14}" y="{y + 33}" font-size="10.5" opacity=".8">{html.escape(mark.name)}</text>'
        if mark.name
        else ""
    )
    # Blocks look like what they are: boxes upon each other.
    behind = "".join(
        f'<path d="M{x + WIDTH + d - 3} {y + 5 + d}q3 0 3 3v{HEIGHT - 7}q0 3 -3 3h-{WIDTH - 8}q-3 0 -3 -3" fill="none" '
        f'stroke="{mark.colour or "currentColor"}" stroke-opacity=".6" stroke-width="1.2"/>'
        for d in ((3, 6) if mark.opens is not None else ())
    )
    what = f' data-opens="{mark.opens}" role="button"' if opens and mark.opens is not None else ""
    return (
        f'<g class="mark" tabindex="0"{what}><title>{html.escape(mark.about)}</title>{behind}'
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill-opacity=".14" stroke-width="1.4" {colour}{dash}/>{band}'
        f'<text x="{x + 14}" y="{y + 17}" font-size="12" font-weight="600">{html.escape(_fitting(mark))}</text>{value}{name}</g>'
    )


def _fitting(mark: Mark) -> str:
    """The operator, shortened where its number needs the room."""
    room = 23 - len(mark.value)
    return mark.title if len(mark.title) <= room else f"{mark.title[: room - 1]}…"
