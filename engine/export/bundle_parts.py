"""Parts of a bundle that are made of its others: what the model's file says of itself, the card to look at, numbers to read by program."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.export.tables import number_rows
from engine.trials.trial import Trial

_STYLE = """
:root { color-scheme: light dark; --soft: #5b6675; --line: #d9dee5; --back: #f3f6f9; }
@media (prefers-color-scheme: dark) { :root { --soft: #a2adba; --line: #323c49; --back: #1a222c; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .75rem .3rem 0; text-align: left; vertical-align: top; }
td:first-child { color: var(--soft); } pre { background: var(--back); padding: .75rem; border-radius: .4rem; overflow-x: auto; }
code { background: var(--back); border-radius: .2rem; padding: 0 .2rem; } pre code { padding: 0; }
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<title>{title}</title><style>{style}</style></head><body>
{body}</body></html>
"""


def with_metadata(model: bytes, facts: Mapping[str, str]) -> bytes:
    """An ONNX file with further `metadata_props`, its own bytes first and unchanged: protobuf joins what follows to what it has.

    ONNX Runtime shows them as `session.get_modelmeta().custom_metadata_map`.
    """
    import onnx

    more = onnx.ModelProto()
    for key, value in sorted(facts.items()):
        more.metadata_props.add(key=f"paretoscope.{key}", value=value)
    added: bytes = more.SerializeToString(deterministic=True)
    return model + added


def metadata_of(
    trial: Trial, settings: Mapping[str, Any], classes: Sequence[str], data_checksum: str, version: str
) -> dict[str, str]:
    """What a model's file says of itself wherever it goes: recipe, classes, preprocessing, what it was measured on."""
    judged = trial.judged
    said = {
        "recipe": json.dumps(trial.recipe.to_json(), sort_keys=True),
        "label": trial.label,
        "trial": trial.id,
        "classes": "\n".join(classes),
        "preprocessing": json.dumps(settings, sort_keys=True, ensure_ascii=False),
        "data_sha256": data_checksum,
        "measured": f"{judged.value:.6g} on {judged.n} test samples" if judged else "",
        "version": version,
    }
    return {key: value for key, value in said.items() if value}


def card_html(markdown: str) -> str:
    """The card as a page that loads nothing; what users wrote stays text."""
    from markdown_it import MarkdownIt

    # The card's own Markdown has tables, lists and code; HTML in it is text.
    body = (
        MarkdownIt("commonmark", {"html": False})
        .enable("table")
        .disable(["link", "image", "autolink"])
        .render(markdown)
    )
    title = markdown.splitlines()[0].lstrip("# ")
    return _PAGE.format(title=html.escape(title), style=_STYLE, body=body)


def metrics_json(trial: Trial, baseline: Trial | None) -> dict[str, Any]:
    """Every number of the trial, flat, and the baseline's: base units (shares, bytes, ms, mJ) with the ends of intervals; by device."""
    devices = tuple(trial.projections) or ("host",)

    def numbers(one: Trial | None) -> dict[str, Any] | None:
        return None if one is None else {row.pop("device"): row for row in number_rows((one,), devices)}

    return {"trial": numbers(trial), "baseline": numbers(baseline)}


def dockerfile(trial: Trial, pictures: bool) -> str:
    """A container that answers as predict.py does; it does not build where the model answers otherwise than recorded."""
    version = trial.machine.versions.get("onnxruntime") if trial.machine else None
    packages = ["numpy", f"onnxruntime=={version}" if version else "onnxruntime", *(["pillow"] if pictures else [])]
    return f"""\
# docker build -t model . && docker run --rm -v "$PWD:/in:ro" model /in/INPUT
FROM python:3.12-slim
WORKDIR /bundle
RUN pip install --no-cache-dir {" ".join(packages)}
COPY . .
RUN python verify.py
USER nobody
ENTRYPOINT ["python", "predict.py"]
"""
