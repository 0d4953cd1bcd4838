"""A recipe as the configuration of an Olive workflow (`olive run --config FILE`), as far as Olive's passes can say it.

Olive works on the float ONNX file (`paretoscope export` of the baseline has it). The names are those of Olive 0.13, by whose `RunConfig`
and passes' schemas they were checked.
"""

from __future__ import annotations

from typing import Any

from engine.errors import InputError
from engine.interchange.said import Said, in_float, is_safe, quantization, smoothing
from engine.spec.providers import provider_of
from engine.spec.steps import Quantize
from engine.trials.trial import Trial

_TOOL = "Olive"
_METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
_WEIGHTS = {"u8s8": "int8", "u8u8": "uint8", "s8s8": "int8"}
_ACTIVATIONS = {"u8s8": "uint8", "u8u8": "uint8", "s8s8": "int8"}


def olive_config(trial: Trial) -> Said:
    """The workflow that comes closest to a trial's recipe; raises InputError where Olive has no pass for what it is about.

    `model_path` and `calibration.py` are the user's to fill in, and named among what is not said.
    """
    step, not_said = quantization(trial, _TOOL)
    if step.method == "block":
        settings, more = _block(step)
    elif step.method == "dynamic":
        settings, more = _dynamic(trial, step)
    elif step.method == "ptq" and (step.weight_bits, step.activation_bits) == (8, 8):
        settings, more = _static(trial, step)
    else:
        raise InputError(
            f"{trial.label} cannot be said as settings of {_TOOL}: it has a pass for 8-bit weights and activations, for method dynamic and "
            f"for method block, none for method {step.method} with weight_bits {step.weight_bits} and activation_bits "
            f"{step.activation_bits}; choose another trial"
        )
    not_said += more
    if alpha := smoothing(trial, step):
        not_said.append(f"smooth {alpha:g}: ranges are moved from activations to weights; Olive's pass does not")
    if excluded := in_float(step, trial.layer_bits):
        settings["nodes_to_exclude"] = excluded
    not_said.append("model_path: the float network; `paretoscope export` of the sweep's baseline has it as model.onnx")
    return Said(_workflow(trial, settings), tuple(not_said))


def _workflow(trial: Trial, settings: dict[str, Any]) -> dict[str, Any]:
    runtime = trial.recipe.runtime
    provider = provider_of(runtime.provider if runtime and runtime.provider else "CPU")
    device = "gpu" if provider.computes_on == "nvidia" else "cpu"
    where = {"device": device, "execution_providers": [provider.full_name]}
    config: dict[str, Any] = {
        "input_model": {"type": "ONNXModel", "model_path": "model.onnx"},
        "systems": {"here": {"type": "LocalSystem", "accelerators": [where]}},
        "passes": {"quantize": settings},
        "host": "here",
        "target": "here",
        "output_dir": f"olive-{trial.id}",
    }
    if "data_config" in settings:
        config["data_configs"] = [
            {
                "name": "calibration",
                "user_script": "calibration.py",
                "load_dataset_config": {"type": "calibration_samples"},
                "dataloader_config": {"batch_size": 1},
            }
        ]
    return config


def _weights(trial: Trial, step: Quantize) -> dict[str, Any]:
    return {
        "precision": _WEIGHTS[step.format],
        "per_channel": step.per_channel,
        "reduce_range": is_safe(trial, step),
        "weight_symmetric": step.symmetric,
    }


def _static(trial: Trial, step: Quantize) -> tuple[dict[str, Any], list[str]]:
    settings = {
        "type": "OnnxStaticQuantization",
        **_weights(trial, step),
        "activation_type": _ACTIVATIONS[step.format],
        "activation_symmetric": False,
        "quant_format": "QDQ",
        "calibrate_method": _METHODS.get(step.calibration, "MinMax"),
        "data_config": "calibration",
    }
    more = [
        f"calibration_samples {step.calibration_samples}: calibration.py is yours, with a dataset registered as calibration_samples that "
        "gives as many"
    ]
    if step.calibration not in _METHODS:
        how = "tensor by tensor, what changes least" if step.calibration == "auto" else "least squared error"
        more.append(f"calibration {step.calibration}: {how}; Olive has MinMax (taken here), Entropy and Percentile")
    return settings, more


def _dynamic(trial: Trial, step: Quantize) -> tuple[dict[str, Any], list[str]]:
    if step.weight_bits != 8:
        raise InputError(
            f"{trial.label} cannot be said as settings of {_TOOL}: its dynamic quantization has 8-bit weights, not {step.weight_bits}; "
            "choose another trial"
        )
    return {"type": "OnnxDynamicQuantization", **_weights(trial, step)}, []


def _block(step: Quantize) -> tuple[dict[str, Any], list[str]]:
    settings = {
        "type": "OnnxBlockWiseRtnQuantization",
        "bits": step.weight_bits,
        "block_size": step.block_size,
        "is_symmetric": step.symmetric,
        "accuracy_level": step.accuracy_level,
    }
    return settings, ["matrices alone: Olive's pass rounds tables of embeddings (Gather) as well"]
