"""A recipe as the settings of Intel's Neural Compressor (INC), as far as its configurations can say it.

INC works on the torch network. The names are those of `neural_compressor.torch.quantization` 3.10: `{"static_quant": {…}}` is what
`INT8StaticQuantConfig.from_dict` takes, under the name by which INC registers it.
"""

from __future__ import annotations

from typing import Any

from engine.errors import InputError
from engine.interchange.said import Said, in_float, is_safe, quantization, smoothing
from engine.spec.steps import Quantize
from engine.trials.trial import Trial

CLASSES = {
    "static_quant": "INT8StaticQuantConfig",
    "smooth_quant": "SmoothQuantConfig",
    "pt2e_dynamic_quant": "DynamicQuantConfig",
    "rtn": "RTNConfig",
}
"""The class in `neural_compressor.torch.quantization` that reads each kind of settings."""
_TOOL = "Neural Compressor"
_ALGORITHMS = {"minmax": "minmax", "entropy": "kl"}


def inc_config(trial: Trial) -> Said:
    """The settings that come closest to a trial's recipe; raises InputError where INC has none for what it is about."""
    step, not_said = quantization(trial, _TOOL)
    bits = (step.weight_bits, step.activation_bits)
    if step.method == "dynamic" and bits == (8, 8):
        kind, settings = "pt2e_dynamic_quant", _integers(step) | {"act_algo": "minmax"}
        not_said.append("of convolutions nothing is said: INC's dynamic settings are for linear layers")
    elif step.method == "ptq" and bits == (8, 8):
        alpha = smoothing(trial, step)
        kind, settings = (
            ("smooth_quant", _integers(step) | {"alpha": alpha}) if alpha else ("static_quant", _integers(step))
        )
        settings["act_algo"] = _ALGORITHMS.get(step.calibration, "minmax")
        if step.calibration not in _ALGORITHMS:
            not_said.append(f"calibration {step.calibration}: INC has minmax (taken here) and kl, which is entropy")
    elif step.method == "block" or (step.method == "ptq" and step.activation_bits == 32 and step.weight_bits <= 8):
        kind, settings = "rtn", _rtn(step)
        if step.method == "ptq":
            not_said.append("convolutions: INC rounds linear layers alone")
        if not step.per_channel:
            not_said.append("per_channel false: one scale for a layer; INC has one for each output")
    else:
        raise InputError(
            f"{trial.label} cannot be said as settings of {_TOOL}: it has some for 8-bit weights and activations, for method dynamic, and "
            f"for weights of 2 to 8 bits alone, none for method {step.method} with weight_bits {step.weight_bits} and activation_bits "
            f"{step.activation_bits}; choose another trial"
        )
    if step.method != "block" and step.activation_bits == 8 and is_safe(trial, step):
        not_said.append("weights of 7 bits, with which no CPU's sums overflow: INC has no such setting for torch")
    if step.format != "u8s8" and step.activation_bits == 8:
        not_said.append(f"format {step.format}: INC's kernels multiply uint8 by int8, which is u8s8")
    if excluded := in_float(step, trial.layer_bits):
        not_said.append(
            f"layers in float ({', '.join(excluded)}): INC names layers as torch does; give each with set_local, dtype fp32"
        )
    return Said({kind: settings}, tuple(not_said))


def _integers(step: Quantize) -> dict[str, Any]:
    return {
        "w_dtype": "int8",
        "w_sym": step.symmetric,
        "w_granularity": "per_channel" if step.per_channel else "per_tensor",
        "w_algo": "minmax",
        "act_dtype": "uint8",
        "act_sym": False,
        "act_granularity": "per_tensor",
    }


def _rtn(step: Quantize) -> dict[str, Any]:
    """A group of all inputs (-1) is one scale for each output."""
    return {
        "dtype": "int",
        "bits": step.weight_bits,
        "use_sym": step.symmetric,
        "group_size": step.block_size or -1,
    }
