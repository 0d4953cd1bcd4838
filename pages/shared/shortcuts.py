"""Keys for every page: a few shortcuts, and the list of them that `?` opens; and whether the screen is narrow, which a browser alone knows.

Streamlit has shortcuts for buttons alone (`shortcut=`); these go to pages and find what a page has, in the browser. They do what a click
does: nothing can be done by a key that cannot be done without it. Where somebody writes, a letter is a letter.
"""

from __future__ import annotations

import streamlit as st

from pages.shared import widths

LEAPS = {
    "o": ("", "Overview"),
    "e": ("explore", "Explore"),
    "t": ("trial", "Trial"),
    "b": ("broke", "What broke"),
    "d": ("devices", "Devices"),
    "c": ("compare", "Compare"),
    "p": ("playground", "Playground"),
    "n": ("new-sweep", "New sweep"),
}
"""The letter after `g`: the page's name in the address, and its title."""
KEYS = (
    ("?", "this list"),
    *((f"g {letter}", title) for letter, (_, title) in LEAPS.items()),
    ("/", "find or filter: the first box to write in"),
    ("j", "the next recipe, where one is picked"),
    ("k", "the recipe before it"),
    ("e", "export what is shown"),
    ("Esc", "close this list"),
)

_JS = """
export default function (component) {
  const { data, parentElement } = component;
  const main = () => document.querySelector('[data-testid=stMain]');
  const host = parentElement.closest ? parentElement : parentElement.host;
  const own = host?.closest('[data-testid=stElementContainer]');
  // It shows nothing, so it takes no room.
  if (own) Object.assign(own.style, { position: 'absolute', left: '0', width: '1px', minWidth: '0', overflow: 'hidden' });

  const style = document.createElement('style');
  style.textContent = data.css;
  document.head.append(style);

  const list = document.createElement('dialog');
  list.className = 'ps-keys';
  list.setAttribute('aria-label', 'Keyboard shortcuts');
  const title = document.createElement('h2');
  title.textContent = 'Keyboard shortcuts';
  const rows = document.createElement('dl');
  for (const [key, what] of data.keys) {
    const dt = document.createElement('dt');
    for (const one of key.split(' ')) { const kbd = document.createElement('kbd'); kbd.textContent = one; dt.append(kbd); }
    const dd = document.createElement('dd');
    dd.textContent = what;
    rows.append(dt, dd);
  }
  const close = document.createElement('button');
  close.textContent = 'Close';
  close.addEventListener('click', () => list.close());
  list.append(title, rows, close);
  document.body.append(list);

  const goTo = name => {
    const links = [...document.querySelectorAll('[data-testid=stTopNavLink], [data-testid=stSidebarNavLink]')];
    const link = links.find(a => new URL(a.href).pathname.replace(/\\/$/, '') === data.base + (name ? '/' + name : ''));
    if (link) link.click();
    else window.location.assign(data.base + '/' + name);
  };
  const seen = element => element && !element.disabled && element.getClientRects().length > 0;
  const press = (selector, accept = () => true) => {
    const button = [...document.querySelectorAll(selector)].find(b => seen(b) && accept(b));
    if (button) button.click();
    return Boolean(button);
  };
  const takesHome = button => /(Export bundle|Ship this)$/.test(button.textContent);
  const find = () => {
    const kinds = ['stTextInput] input', 'stTextArea] textarea', 'stSelectbox] input'].map(kind => '[data-testid=' + kind);
    const boxes = [...main().querySelectorAll(kinds.join(', '))];
    const box = boxes.find(b => seen(b) && /find|filter/i.test(b.getAttribute('aria-label') || '')) || boxes.find(seen);
    if (box) box.focus();
    return Boolean(box);
  };
  let leaping = 0;
  const onKey = event => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const at = event.target;
    // A tick or a switch is no place to write.
    const written = 'input:not([type=checkbox], [type=radio]), textarea, select, ';
    if (at.closest && at.closest(written + '[contenteditable=true], [role=textbox], canvas')) return;
    if (list.open) return;
    const leap = Date.now() - leaping < 1500;
    leaping = 0;
    let done = true;
    if (leap && event.key in data.leaps) goTo(data.leaps[event.key]);
    else if (event.key === 'g') leaping = Date.now();
    else if (event.key === '?') {
      // Dark where the app is: Streamlit says it on its own element, beside which the list stands.
      list.style.colorScheme = getComputedStyle(document.querySelector('[data-testid=stApp]')).colorScheme;
      list.showModal();
    }
    else if (event.key === '/') done = find();
    else if (event.key === 'j') done = press('[class*=next-recipe] button');
    else if (event.key === 'k') done = press('[class*=previous-recipe] button');
    else if (event.key === 'e') done = press('[data-testid=stDownloadButton] button', takesHome);
    else done = false;
    if (done) { event.preventDefault(); event.stopPropagation(); }
  };
  document.addEventListener('keydown', onKey, true);
  // Not at once: the first run of a page draws its chart, and what this asks for would take its place.
  const screen = window.matchMedia('(max-width: ' + data.narrowest + 'px)');
  let told = false;
  const tell = () => { if (screen.matches !== told) component.setStateValue('narrow', told = screen.matches); };
  const waits = setTimeout(tell, 900);
  screen.addEventListener('change', tell);
  return () => {
    clearTimeout(waits);
    screen.removeEventListener('change', tell);
    document.removeEventListener('keydown', onKey, true);
    for (const element of [style, list]) element.remove();
  };
}
"""
_CSS = """
.ps-keys { border: 1px solid #8C95A3; border-radius: .75rem; padding: 1.25rem 1.5rem;
  background: light-dark(#FFFFFF, #18202A); color: light-dark(#1B2430, #E6EAF0);
  font-family: "Source Sans", sans-serif; max-width: min(92vw, 30rem); max-height: 88vh; }
.ps-keys::backdrop { background: rgba(16, 21, 28, .5); }
.ps-keys h2 { font-size: 1.25rem; margin: 0 0 .75rem; padding: 0; color: inherit; }
.ps-keys dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1rem; margin: 0 0 1rem; }
.ps-keys dt, .ps-keys dd { margin: 0; }
.ps-keys kbd { border: 1px solid #8C95A3; border-radius: .25rem; padding: 0 .4rem; margin-right: .25rem;
  background: light-dark(#F3F5F8, #273140); color: inherit; }
.ps-keys button { border: 1px solid #8C95A3; border-radius: .5rem; padding: .25rem .9rem; background: transparent; color: inherit; }
"""
_component = st.components.v2.component("paretoscope_shortcuts", js=_JS)


def listen() -> None:
    """Listen for the keys on the page that is shown, and for how wide it is (`widths.is_narrow`). To be called once in a run."""
    base = "/".join((st.context.url or "").split("/", 3)[3:]).partition("?")[0].rstrip("/")
    names = {name for name, _ in LEAPS.values() if name}
    folder, _, last = base.rpartition("/")
    base = folder if last in names | {"home", "overview"} else base

    def narrow() -> None:
        widths.set_narrow(bool(st.session_state["shortcuts"].get("narrow")))

    _component(
        key="shortcuts",
        data={
            "keys": [list(pair) for pair in KEYS],
            "leaps": {letter: name for letter, (name, _) in LEAPS.items()},
            "css": _CSS,
            "base": f"/{base}" if base else "",
            "narrowest": widths.WIDEST_PX,
        },
        height=1,
        on_narrow_change=narrow,
    )
