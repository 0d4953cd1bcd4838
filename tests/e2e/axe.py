"""What axe-core (Deque's checker of the Web Content Accessibility Guidelines) finds wrong with a page."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
STREAMLITS_OWN: tuple[tuple[str, str, str], ...] = ()
"""What Streamlit's own widgets do and we cannot mend: rule, a part of the element's HTML, and why."""


def violations(page: Page) -> list[str]:
    """One line for each element that breaks a rule: the rule, what is wrong, and the element."""
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]})
    lines = []
    for broken in found.response["violations"]:
        for node in broken["nodes"]:
            if any(rule == broken["id"] and part in node["html"] for rule, part, _ in STREAMLITS_OWN):
                continue
            checks = [*node["any"], *node["all"], *node["none"]]
            lines.append(f"{broken['id']}: {checks[0]['message'] if checks else ''} {node['html'][:200]}")
    return lines


def faint_chart_text(page: Page, least: float = 4.5) -> list[str]:
    """Words of axes, titles and legends of charts with less contrast to the page than that (WCAG 2.2, 1.4.3): axe-core cannot tell of SVG.

    Numbers in the cells of heat maps and in bars lie on other colours, and are left out.
    """
    found: list[str] = page.evaluate(
        """least => {
          const numbers = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
          const light = colour => {
            const [r, g, b] = numbers(colour).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const back = light(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor);
          const texts = [...document.querySelectorAll('.js-plotly-plot :is(.xtick, .ytick, .infolayer, .legend) text')];
          return texts.filter(e => getComputedStyle(e).fill.startsWith('rgb')).map(e => {
            const own = light(getComputedStyle(e).fill);
            return [(Math.max(own, back) + 0.05) / (Math.min(own, back) + 0.05), e.textContent];
          }).filter(([ratio]) => ratio < least).map(([ratio, text]) => `${ratio.toFixed(2)} ${text}`);
        }""",
        least,
    )
    return found
