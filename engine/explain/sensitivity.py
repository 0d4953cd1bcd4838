"""Which layers of a trial's network can be rounded, to how many bits, and at what price? Worked out when it is asked, and kept.

`kept_sensitivity` looks for an answer that is there already; it reads the store alone, so a web server may call it.
"""

from __future__ import annotations

from typing import Any

from engine.datasets.load import dataset_checksum, load_dataset
from engine.explain.cached_answers import kept, known, measured_pair
from engine.explain.float_network import FloatNetwork, float_network
from engine.measure.machine import integer_sums, machine
from engine.spec.sections import LatencyOptions
from engine.spec.steps import Quantize
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial

USUAL = Quantize(weight_bits=8, activation_bits=8)
"""How layers are rounded where the recipe does not say."""
# What of a step counts where single layers are rounded to the nearest.
_KNOBS = (
    "activation_bits", "per_channel", "symmetric", "format", "weight_range", "calibration", "block_size", "accuracy_level",
)  # fmt: skip


def sensitivity(
    store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str, samples: int | None = None
) -> dict[str, Any]:
    """`layer_harm.measure_layers` of a trial's float network as JSON, rounded as its recipe rounds (int8, where it does not), with its
    label, the `network`'s, the `machine`'s, and the `step` that rounds.

    `samples`: validation samples; None for as many as a minute or two allow. Raises NotFoundError or InputError.
    """
    sweep, trial, _ = measured_pair(store, sweep_ref, trial_id)
    network = float_network(store, store.sweep(sweep_ref).id, trial)

    def work() -> dict[str, Any]:
        from engine.explain.layer_harm import Asked, measure_layers
        from engine.measure.task_metric import metric_options

        step = rounding(network)
        latency = sweep.measure.latency or LatencyOptions()
        asked = Asked(
            step,
            metric_options(sweep.metric) if sweep.metric else None,
            latency.filled(None),
            _is_safe(step),
            samples,
        )
        data = load_dataset(sweep.data)
        return measure_layers(asked, artifacts.local(network.artifact), data)

    found = kept(store, "layer_harm", _parts(sweep, network, samples), work)
    return _about(trial, network) | found


def kept_sensitivity(store: Store, sweep: Sweep, sweep_id: str, trial: Trial) -> dict[str, Any] | None:
    """What `sensitivity` has found by itself; None where it was not asked yet, here. Raises InputError as it does for a trial whose float
    network is not there.
    """
    network = float_network(store, sweep_id, trial)
    found = known(store, "layer_harm", _parts(sweep, network, None))
    return None if found is None else _about(trial, network) | found


def rounding(network: FloatNetwork) -> Quantize:
    """The step that single layers are rounded with: what the recipe says of it, at 8 bits; where it stores 16 bits, of weights alone."""
    step = network.step
    if step is None:
        return USUAL
    if step.weight_bits == 16:
        return Quantize(weight_bits=8, activation_bits=32)
    stated = {name: getattr(step, name) for name in _KNOBS}
    method = "ptq" if step.method == "qat" else step.method
    # Where `auto` decides it is left out: it compares whole networks.
    return Quantize(weight_bits=8, method=method, equalize=True if step.equalize is True else "auto", **stated)


def _is_safe(step: Quantize) -> bool:
    """Whether 8-bit weights have 7 bits in a recipe that is measured on this machine."""
    if step.weight_range != "auto":
        return step.weight_range == "safe"
    return step.can_overflow and integer_sums(machine()) != "exact"


def _about(trial: Trial, network: FloatNetwork) -> dict[str, Any]:
    return {
        "trial": trial.id,
        "label": trial.label,
        "network": network.trial.label,
        "machine": machine().label,
        "step": {k: v for k, v in rounding(network).model_dump(mode="json").items() if v is not None},
    }


def _parts(sweep: Sweep, network: FloatNetwork, samples: int | None) -> dict[str, Any]:
    return {
        "file": network.artifact,
        "step": rounding(network).model_dump(mode="json"),
        "data": dataset_checksum(sweep.data),
        "metric": sweep.metric.model_dump(mode="json") if sweep.metric else None,
        "latency": (sweep.measure.latency or LatencyOptions()).filled(None).options,
        "samples": samples,
        "machine": machine().fingerprint,
    }
