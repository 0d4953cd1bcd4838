"""The options of a sweep in a report: what each changes, as a table whose lines light up the recipes that have it."""

from __future__ import annotations

from engine.export.report_table import text_html
from engine.frontier.contrasts import WITHOUT
from engine.frontier.effect_texts import REGRESSION, change_text, strongest_together, together_text
from engine.frontier.effects import Effects
from engine.metrics import METRICS

MOST_LISTED = 60
"""Of more options those of the most pairs; the ids of their recipes are most of the section's weight."""
SHOWN = 4
ABOUT = (
    "The mean change between recipes that differ in this option alone, with its 95 % interval: how the change varies with the rest of the "
    "recipe, and what the measurements leave open. Pick one, and its recipes light up in the charts and in the table."
)


def options_table(found: Effects) -> str:
    """The table of options, for what the sweep is judged by and its costs; what options do together below it; "" without any."""
    if not found.effects:
        return ""
    keys = found.metrics[:SHOWN]
    most = {e.key for e in sorted(found.effects, key=lambda e: -e.pairs)[:MOST_LISTED]}
    head = "".join(f"<th scope=col>{text_html(METRICS[key].name)}</th>" for key in keys)
    rows = []
    for e in (e for e in found.effects if e.key in most):
        instead = "–" if e.instead == WITHOUT else text_html(e.instead)
        pairs = f"{e.pairs:,}" if e.basis == "pairs" else "regression"
        cells = "".join(f"<td>{text_html(change_text(key, e.estimates.get(key)))}</td>" for key in keys)
        rows.append(
            f'<tr data-option="{e.key}" data-ids="{" ".join(map(text_html, e.trials))}"><td>{pairs}</td>'
            f'<td><button type="button" aria-pressed="false">{text_html(e.name)}</button></td><td>{instead}</td>{cells}</tr>'
        )
    left = (
        f"<p>{len(found.effects) - len(rows):,} options of fewer pairs are left out.</p>"
        if len(rows) < len(found.effects)
        else ""
    )
    told = [together_text(found, one, keys[0]) for one in strongest_together(found, keys[0])]
    together = "".join(f"<li>{text_html(text)}</li>" for text in told)
    together = (
        f"<p>Together, more than chance (of many pairs, one in twenty is so by chance):</p><ul>{together}</ul>"
        if told
        else ""
    )
    regression = "" if found.factorial else f"<p>Options marked “regression” are told {text_html(REGRESSION)}.</p>"
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Table of options"><table id="options"><thead><tr><th scope=col>Pairs</th>'
        f"<th scope=col>Option</th><th scope=col>Instead of</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f"{left}{regression}{together}"
    )
