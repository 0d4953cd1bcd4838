import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from engine.compress.distill import classifier_of
from engine.compress.teacher import TeacherOutputs, classifier_input, teacher_note, teacher_outputs
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import SetupError, StepError
from engine.models.builders import Origin, build
from engine.models.export import export_onnx
from engine.models.sources import load_network
from engine.models.zoo import BUILDERS
from engine.spec.sections import Model
from tests.helpers.nets import IMAGE_NETS

torch.set_num_threads(1)

PREPROCESSING = Preprocessing(1 / 255, (0.3,), (0.35,))


def split(n=7, size=28) -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (n, 1, size, size), dtype=np.uint8), rng.integers(0, 10, n))


def in_torch(network: nn.Module, classifier: nn.Module, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and what the classifier reads, averaged over the map where it is a convolution."""
    seen = []
    hook = classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        logits = network(torch.from_numpy(np.ascontiguousarray(images)))
    hook.remove()
    features = seen[0].mean((2, 3)) if seen[0].ndim == 4 else seen[0]
    return logits.numpy(), features.numpy()


def livened(network: nn.Module) -> nn.Module:
    """With the batch-norm statistics of some images, so that what reaches the classifier depends on the image."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.from_numpy(PREPROCESSING(split(32).inputs)))
    return network.eval()


@pytest.mark.parametrize(
    "source",
    [
        *IMAGE_NETS,
        "torchvision:squeezenet1_1",
        "torchvision:shufflenet_v2_x0_5",
    ],
)
def test_outputs_are_torchs_in_both_views(source):
    """A classifier of the linear kind, and SqueezeNet's, which is a convolution before the pooling."""
    network = livened(build(Origin(source, 10, (1, 28, 28), "random")))
    classifier = classifier_of(network, (1, 28, 28), 10)
    data = split()
    outputs = teacher_outputs(export_onnx(network, (1, 28, 28)), data, PREPROCESSING, mirrored=True, features=True)
    assert outputs.logits.dtype == outputs.features.dtype == np.float16
    assert len(outputs) == len(data)
    for view, images in enumerate((PREPROCESSING(data.inputs), PREPROCESSING(data.inputs[..., ::-1]))):
        logits, features = in_torch(network, classifier, images)
        # float16 keeps eleven bits; the rest is the runtime's own rounding.
        np.testing.assert_allclose(outputs.logits[view], logits, rtol=2e-3, atol=1e-3 * np.abs(logits).max())
        np.testing.assert_allclose(outputs.features[view], features, rtol=2e-3, atol=1e-3 * np.abs(features).max())
    assert not np.array_equal(*outputs.logits)


def test_trained_teacher_keeps_its_accuracy_in_half_precision():
    from engine.datasets.fashion_mnist import load_fashion_mnist

    data = load_fashion_mnist()
    network = load_network(Model(source="resnet8"), data)
    few = data.validation.head(300)
    outputs = teacher_outputs(
        export_onnx(network.module, data.input_shape), few, data.preprocessing, mirrored=False, features=False
    )
    assert outputs.logits.shape == (1, 300, 10)
    assert outputs.features is None
    with torch.no_grad():
        expected = network.module(torch.from_numpy(data.preprocessing(few.inputs))).argmax(1).numpy()
    assert np.array_equal(outputs.logits[0].argmax(1), expected)
    assert (expected == few.labels).mean() > 0.88


def small(*, softmax=False, batch: int | str = "N", scale=1.0) -> onnx.ModelProto:
    """Flatten, a matrix, a bias: 4 pixels to 3 classes; weights (i + 1) × (j + 1)."""
    weights = scale * np.outer(np.arange(1, 5), np.arange(1, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["sum"]),
        *([helper.make_node("Softmax", ["sum"], ["probabilities"])] if softmax else []),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, 2, 2])],
        [helper.make_tensor_value_info("probabilities" if softmax else "sum", TensorProto.FLOAT, [batch, 3])],
        [
            onnx.numpy_helper.from_array(weights.astype(np.float32), "w"),
            onnx.numpy_helper.from_array(np.ones(3, np.float32), "b"),
        ],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


PLAIN = Preprocessing(1.0, (0.0,), (1.0,))
PIXELS = Split(np.arange(20, dtype=np.float32).reshape(5, 1, 2, 2) / 8, np.zeros(5, np.int64))


@pytest.mark.parametrize("options", [{}, {"softmax": True}, {"batch": 1}, {"batch": 2}, {"batch": 8}])
def test_any_graph_can_teach(options):
    """A softmax at the end is left out, and a graph that insists on a batch gets it."""
    outputs = teacher_outputs(small(**options), PIXELS, PLAIN, mirrored=True, features=True)
    weights = np.outer(np.arange(1, 5), np.arange(1, 4))
    for view, images in enumerate((PIXELS.inputs, PIXELS.inputs[..., ::-1])):
        flat = images.reshape(5, 4)
        np.testing.assert_array_equal(outputs.features[view], flat.astype(np.float16))
        np.testing.assert_allclose(outputs.logits[view], flat @ weights + 1, rtol=1e-3)


def test_a_teacher_without_one_classifier_has_logits_and_no_features():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.left(x.flatten(1)) + self.right(x.flatten(1))

    model = export_onnx(Two(), (1, 2, 2))
    assert teacher_outputs(model, PIXELS, PLAIN, mirrored=False, features=False).logits.shape == (1, 5, 3)
    with pytest.raises(StepError, match=r"no single classifier before its output .*; use feature_weight 0"):
        teacher_outputs(model, PIXELS, PLAIN, mirrored=False, features=True)


def test_classifier_input_is_a_tensor_of_the_graph():
    model = export_onnx(BUILDERS["resnet8"](), (1, 28, 28))
    name = classifier_input(model)
    assert name in {o for node in model.graph.node for o in node.output}
    assert [n.op_type for n in model.graph.node if name in n.input] == ["Gemm"]


def test_outputs_that_no_student_can_learn_from_are_refused():
    with pytest.raises(StepError, match="'sum' are not numbers, or above 65,504"):
        teacher_outputs(small(scale=1e6), PIXELS, PLAIN, mirrored=False, features=False)
    with pytest.raises(StepError, match=r"does not run on input of shape \(5, 1, 3, 3\)"):
        teacher_outputs(small(), split(5, 3), PLAIN, mirrored=False, features=False)


@pytest.mark.parametrize("features", [True, False])
def test_saved_outputs_come_back_the_same(features, tmp_path):
    outputs = teacher_outputs(small(), PIXELS, PLAIN, mirrored=True, features=features)
    paths = [tmp_path / name for name in ("a.npz", "b.npz")]
    for path in paths:
        outputs.save(path)
    loaded = TeacherOutputs.load(paths[0])
    assert np.array_equal(loaded.logits, outputs.logits)
    assert np.array_equal(loaded.features, outputs.features) if features else loaded.features is None
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"a.npz", "b.npz"}


def test_damaged_outputs_are_one_line(tmp_path):
    path = tmp_path / "t.npz"
    good = np.zeros((2, 4, 3), np.float16)
    wrong = [{"x": good}, {"logits": good[0]}, {"logits": good, "features": good[:, :3]}, {"logits": good.astype("f8")}]
    for arrays in wrong:
        np.savez(path, **arrays)
        with pytest.raises(SetupError, match=r"holds no teacher's outputs .*; delete it and run the sweep again"):
            TeacherOutputs.load(path)
    TeacherOutputs(good, None).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    for broken in (path, tmp_path / "absent.npz"):
        with pytest.raises(SetupError, match="holds no teacher's outputs"):
            TeacherOutputs.load(broken)


def said(classes: np.ndarray, known: int = 4) -> TeacherOutputs:
    """A teacher that is sure of these classes."""
    return TeacherOutputs(np.eye(known, dtype=np.float16)[classes][None], None)


def test_a_teacher_whose_classes_are_in_another_order_is_told_of():
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 4, 400))
    wrong = rng.random(400) < 0.1
    answers = np.where(wrong, (labels + 1) % 4, labels)
    assert teacher_note(said(answers), labels) is None
    note = teacher_note(said((answers + 2) % 4), labels)
    assert note.startswith("the teacher is right on 0.0% of the training images, and would be on ")
    share = float(note.split("would be on ")[1].split("%")[0]) / 100
    assert share == pytest.approx((~wrong).mean(), abs=0.05)
    assert note.endswith("another order than the dataset's")
    swapped = teacher_note(said(np.array([0, 2, 1, 3])[answers]), labels)  # two of four
    assert f"right on {(np.array([0, 2, 1, 3])[answers] == labels).mean():.1%}" in swapped


def test_a_teacher_that_knows_nothing_is_told_of_and_a_weak_one_is_not():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 40, 60)
    rarest = np.full(60, np.bincount(labels, minlength=40).argmin())
    assert "no more than who always says the commonest class" in teacher_note(said(rarest, 40), labels)
    weak = np.where(rng.random(60) < 0.3, labels, rng.integers(0, 40, 60))
    assert teacher_note(said(weak, 40), labels) is None
