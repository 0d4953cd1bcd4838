"""A spec, and steps at random."""

from __future__ import annotations

from hypothesis import strategies as st

from engine.spec.steps import Distill, Prune, Quantize

SPEC = {
    "name": "first look",
    "model": {"source": "resnet8"},
    "space": {
        "distill": [None, {"student": "ds_cnn"}],
        "prune": [None, {"method": "channel", "ratio": [0.25, 0.5, 0.7], "finetune_epochs": 1}],
        "quantize": [None, {"weight_bits": 8, "activation_bits": 8}, {"weight_bits": 4, "activation_bits": 32}],
    },
}
steps = st.one_of(
    st.builds(
        Distill,
        student=st.sampled_from(["ds_cnn", "torchvision:resnet18", "self"]),
        temperature=st.floats(0.5, 20),
        teacher=st.just("previous"),
        width=st.floats(0.25, 2),
    ),
    st.builds(Prune, method=st.sampled_from(["magnitude", "channel"]), ratio=st.floats(0.01, 0.99)),
)
quantizers = st.builds(
    Quantize,
    weight_bits=st.sampled_from([2, 3, 4, 8]),
    activation_bits=st.sampled_from([4, 8]),
    method=st.sampled_from(["ptq", "qat"]),
    calibration=st.sampled_from(["minmax", "entropy"]),
    layers=st.none() | st.dictionaries(st.text(max_size=5), st.integers(2, 32), max_size=2),
)
