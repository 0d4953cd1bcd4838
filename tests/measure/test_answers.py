"""What a metric reads of a file's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.datasets.load import load_dataset
from engine.measure.answers import answers
from engine.measure.task_metric import metric_options
from engine.spec.metric import MetricChoice
from engine.spec.sections import Data


def soft_net(path: Path) -> Path:
    """Vectors (N, 3) -> their softmax."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["y"], axis=1)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("x", "y")]
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    graph = helper.make_graph(nodes, "soft", ends[:1], ends[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_a_function_of_the_users_own_reads_the_shares_that_the_network_gives(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 2, (90, 3)).astype(np.float32), rng.integers(0, 3, 90)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    data = load_dataset(Data.model_validate({"source": str(tmp_path / "d.npz"), "preprocess": "none"}))
    (tmp_path / "own.py").write_text(
        "import numpy as np\n\n\ndef brier(outputs, targets):\n    return ((outputs - np.eye(3)[targets]) ** 2).sum(1)\n"
    )
    net = soft_net(tmp_path / "net.onnx")
    own = metric_options(MetricChoice(source=f"{tmp_path / 'own.py'}:brier", higher_is_better=False))
    found, _ = answers(net, data.test, data, own)
    shares = np.exp(data.test.inputs) / np.exp(data.test.inputs).sum(axis=1, keepdims=True)
    expected = ((shares - np.eye(3)[data.test.labels]) ** 2).sum(axis=1)
    np.testing.assert_allclose(found.scored.samples, expected, rtol=1e-4)
    # A built-in one reads scores: shares near 1 hide which is the surer.
    area, _ = answers(net, data.test, data, metric_options(MetricChoice(name="auroc")))
    pairs = []
    for c in range(3):
        ours, others = shares[data.test.labels == c, c], shares[data.test.labels != c, c]
        pairs.append(np.mean(ours[:, None] > others))
    np.testing.assert_allclose(area.scored.value, np.mean(pairs), rtol=1e-6)
