"""The four reference networks have the published counts, and the shipped table of what they ask for is theirs."""

import pytest

from engine.devices.published import reference_demands
from engine.graph.count_demand import graph_demand
from engine.models.mlperf_tiny import REFERENCES, keras_params, reference_onnx

# MACs and parameters by the project's reference table (../shared/reference/README.md).
PUBLISHED = {
    "resnet8": (12_501_632, 78_666),
    "ds_cnn": (2_656_768, 24_908),
    "mobilenetv1_0.25_96": (7_489_664, 221_794),
    "fc_autoencoder": (264_192, 269_992),
}


def test_the_four_are_those_of_the_benchmark():
    assert {n: (r.macs, r.params) for n, r in REFERENCES.items()} == PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_graphs_have_the_published_counts_and_the_shipped_demands_are_theirs(name):
    macs, params = PUBLISHED[name]
    assert keras_params(REFERENCES[name].build()) == params
    demand = graph_demand(reference_onnx(name))
    assert demand.macs == macs
    assert demand == reference_demands()[name]
