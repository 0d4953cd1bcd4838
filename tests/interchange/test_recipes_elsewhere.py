"""Recipes in the words of Olive and Neural Compressor: what they say, what they do not, and that neither is made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.cli.recipe import Tool
from engine.cli.recipe import recipe as print_recipe
from engine.errors import InputError
from engine.interchange.inc_config import CLASSES, inc_config
from engine.interchange.olive_config import olive_config
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.spec.steps import Finetune, Prune, Quantize
from engine.trials.trial import Trial
from tests.helpers.trial_factory import trial

PLAIN = {"rounding": "nearest", "bias_correction": False, "equalize": False, "smooth": 0, "calibration": "minmax"}


def quantized(*before: Any, chosen: tuple[str, ...] = (), bits: dict[str, int] | None = None, **options: Any) -> Trial:
    step = Quantize(**{"weight_bits": 8, "activation_bits": 8, **options})
    return trial(Recipe(steps=(*before, step)), chosen=chosen, layer_bits=bits)


def test_plain_int8_is_said_whole():
    said = olive_config(quantized(**PLAIN))
    assert said.settings["passes"]["quantize"] == {
        "type": "OnnxStaticQuantization",
        "precision": "int8",
        "per_channel": True,
        "reduce_range": False,
        "weight_symmetric": True,
        "activation_type": "uint8",
        "activation_symmetric": False,
        "quant_format": "QDQ",
        "calibrate_method": "MinMax",
        "data_config": "calibration",
    }
    # What is the user's to bring.
    assert [text.partition(" ")[0] for text in said.not_said] == ["calibration_samples", "model_path:"]
    assert inc_config(quantized(**PLAIN)) == type(said)(
        {
            "static_quant": {
                "w_dtype": "int8",
                "w_sym": True,
                "w_granularity": "per_channel",
                "w_algo": "minmax",
                "act_dtype": "uint8",
                "act_sym": False,
                "act_granularity": "per_tensor",
                "act_algo": "minmax",
            }
        },
        (),
    )


def test_what_is_more_than_rounding_is_named():
    ours = quantized(
        Prune(method="channel", ratio=0.5),
        Finetune(),
        max_drop=0.5,
        chosen=("2 layers in float",),
        bits={"/a/Conv": 32, "/b/Conv": 8},
    )
    olive, inc = olive_config(ours), inc_config(ours)
    for said in (olive, inc):
        text = "\n".join(said.not_said)
        for word in (
            "channels",
            "Train on",
            "rounding",
            "bias_correction",
            "max_drop 0.5",
            "2 layers in float",
            "calibration auto",
        ):
            assert word in text, (word, text)
    assert olive.settings["passes"]["quantize"]["nodes_to_exclude"] == ["/a/Conv"]
    assert "/a/Conv" in "\n".join(inc.not_said)


def test_seven_bit_weights_and_smoothing_are_what_auto_came_to():
    ours = quantized(**{**PLAIN, "smooth": "auto"}, chosen=("7-bit weights", "smoothed 0.75"))
    olive, inc = olive_config(ours), inc_config(ours)
    assert olive.settings["passes"]["quantize"]["reduce_range"] is True
    assert any(text.startswith("smooth 0.75") for text in olive.not_said)
    assert inc.settings["smooth_quant"]["alpha"] == 0.75
    assert any("7 bits" in text for text in inc.not_said)


@pytest.mark.parametrize(
    ("options", "kind", "pass_type"),
    [
        ({"calibration": "entropy"}, "static_quant", "OnnxStaticQuantization"),
        ({"method": "dynamic"}, "pt2e_dynamic_quant", "OnnxDynamicQuantization"),
        (
            {"method": "block", "weight_bits": 4, "activation_bits": 32, "block_size": 64},
            "rtn",
            "OnnxBlockWiseRtnQuantization",
        ),
    ],
)
def test_every_method_has_the_pass_that_is_meant(options: dict[str, Any], kind: str, pass_type: str):
    ours = quantized(**options)
    settings = inc_config(ours).settings
    assert list(settings) == [kind]
    assert kind in CLASSES
    found = olive_config(ours).settings["passes"]["quantize"]
    assert found["type"] == pass_type
    if kind == "rtn":
        assert (found["bits"], found["block_size"], found["accuracy_level"]) == (4, 64, 4)
        assert settings["rtn"] == {"dtype": "int", "bits": 4, "use_sym": True, "group_size": 64}
    if "calibration" in options:
        assert (found["calibrate_method"], settings[kind]["act_algo"]) == ("Entropy", "kl")


def test_weights_alone_are_for_one_of_them():
    ours = quantized(weight_bits=3, activation_bits=32)
    said = inc_config(ours)
    assert said.settings["rtn"] == {"dtype": "int", "bits": 3, "use_sym": True, "group_size": -1}
    assert any(text.startswith("ends_8bit") for text in said.not_said)
    with pytest.raises(InputError, match="none for method ptq with weight_bits 3 and activation_bits 32"):
        olive_config(ours)


@pytest.mark.parametrize("say", [olive_config, inc_config])
@pytest.mark.parametrize(
    "steps",
    [
        (),
        (Prune(method="channel", ratio=0.5),),
        (Quantize(weight_bits=8, activation_bits=8, method="qat"),),
        (Quantize(weight_bits=4, activation_bits=8),),
        (Quantize(weight_bits=16, activation_bits=32),),
        (Quantize(weight_bits=8, activation_bits=16),),
    ],
)
def test_what_would_be_another_network_is_refused(say: Any, steps: tuple[Any, ...]):
    with pytest.raises(InputError, match="cannot be said as settings of"):
        say(trial(Recipe(steps=steps)))


def test_where_a_file_is_run_is_said_to_olive():
    ours = trial(Recipe(steps=(Quantize(weight_bits=8, activation_bits=8), Runtime(provider="CUDA", threads=2))))
    said = olive_config(ours)
    (where,) = said.settings["systems"]["here"]["accelerators"]
    assert where == {"device": "gpu", "execution_providers": ["CUDAExecutionProvider"]}
    assert any("how the finished file is run" in text for text in said.not_said)


def test_settings_are_printed_alone_and_the_rest_beside_them(home: Path, capsys: pytest.CaptureFixture[str]):
    print_recipe("example-resnet8", "8f5382100237", Tool.olive)
    done = capsys.readouterr()
    print_recipe("example-resnet8", "8f5382100237", Tool.olive, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert json.loads(done.out) == found["settings"]
    assert done.err.splitlines() == [f"not said: {text}" for text in found["not_said"]]
    with pytest.raises(InputError, match=r"baseline cannot be said .* it has no step"):
        print_recipe("example-resnet8", "4f53cda18c2b", Tool.inc)
