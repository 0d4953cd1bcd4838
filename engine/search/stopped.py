"""Why a recipe was stopped after it was seen in short, in one sentence."""

from __future__ import annotations

from engine.metrics import text_of
from engine.search.evidence import Scale
from engine.search.gain import Hopeless
from engine.spec.recipe import Recipe
from engine.spec.screening import in_short
from engine.trials.metric_values import metric_value
from engine.trials.trial import Trial


def why_stopped(recipe: Recipe, short: Recipe, seen: Trial, why: Hopeless, better: Trial | None, scale: Scale) -> str:
    """`stopped after screening: 71.2 % with 1 of 4 epochs on 500 samples; …`. `better`: a measured trial that is better in all that is
    expected of the recipe, if there is one; `scale`: of the figure that the sweep is judged by.
    """
    key, device = scale.key, scale.device
    value = metric_value(seen, key, device)
    trained = in_short(recipe, short)
    samples = seen.judged.n if seen.judged else None
    told = text_of(key, value) if value is not None else "no figure"
    parts = [f"with {trained}" if trained else "", f"on {samples:,} samples" if samples else ""]
    said = " ".join(["stopped after screening:", told, *filter(None, parts)])
    low, high = sorted((why.low, why.high))
    said += f"; {text_of(key, low)} to {text_of(key, high)} expected in full"
    if better is None:
        return f"{said}, which adds nothing to the frontier{' within the limits' if scale.limit is not None else ''}"
    own = metric_value(better, key, device)
    rest = f" has {text_of(key, own)} and is no worse in anything else" if own is not None else " is better"
    return f"{said}, and {better.label}{rest}"
