"""Small networks written by hand, whose differences are known: a convolutional one with a residual, and what may become of it."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Net:
    """A graph in the making, one operator at a time; weights are drawn from `seed`."""

    seed: int = 0
    nodes: list = field(default_factory=list)
    weights: dict = field(default_factory=dict)

    def weight(self, name, *shape, like=None, kind=np.float32):
        if name not in self.weights:
            # Drawn by name, so that the same layer has the same weights in whatever graph.
            rng = np.random.default_rng([self.seed, *name.encode()])
            values = rng.standard_normal(shape) if like is None else like
            self.weights[name] = numpy_helper.from_array(np.asarray(values, kind), name)
        return name

    def add(self, op, inputs, name="", **attributes):
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], name=name, **attributes))
        return out

    def conv(self, x, name, inputs, outputs, kernel=3, weight=None, bits=32, **attributes):
        w = self.weight(weight or f"{name}.w", outputs, inputs, kernel, kernel)
        if bits == 8:
            x = self.rounded(x)
            codes = self.weight(f"{name}.q", like=np.ones((outputs, inputs, kernel, kernel)), kind=np.int8)
            w = self.add("DequantizeLinear", [codes, self.weight(f"{name}.s", like=0.1)])
        pads = [kernel // 2] * 4
        return self.add("Conv", [x, w], name, pads=pads, **attributes)

    def rounded(self, x):
        scale, zero = self.weight("scale", like=0.05), self.weight("zero", like=128, kind=np.uint8)
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [x, scale, zero]), scale, zero])

    def model(self, x, shape=("N", 1, 8, 8), out=("N", 4)):
        self.nodes[[n.output[0] for n in self.nodes].index(x)].output[0] = "logits"
        for node in self.nodes:
            node.input[:] = ["logits" if name == x else name for name in node.input]
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, out)],
            list(self.weights.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def residual_net(
    *,
    width=8,
    bits=32,
    kernel=3,
    activation="Relu",
    softmax=True,
    extra=False,
    names=True,
    prefix="",
    seed=0,
    sparse=False,
):
    """stem → two convolutions beside a shortcut → sum → average → linear (→ softmax)."""
    net = Net(seed)

    def named(name):
        return f"{prefix}{name}" if names else ""

    def conv(x, name, inputs, outputs, **options):
        made = net.conv(x, f"{prefix}{name}", inputs, outputs, weight=f"{name}.w", bits=bits, **options)
        net.nodes[-1].name = named(name)
        return made

    x = net.add(activation, [conv("input", "stem", 1, width, kernel=kernel)], named("stem_act"))
    y = net.add(activation, [conv(x, "a", width, width)])
    y = conv(y, "b", width, width)
    if extra:
        y = conv(y, "extra", width, width)
    y = net.add("Relu", [net.add("Add", [y, x])])
    y = net.add("Flatten", [net.add("GlobalAveragePool", [y])])
    y = net.add("MatMul", [y, net.weight("head.w", width, 4)], named("head"))
    y = net.add("Add", [y, net.weight("head.b", 4)])
    if softmax:
        y = net.add("Softmax", [y], named("softmax"))
    if sparse:
        values = numpy_helper.to_array(net.weights["a.w"]).copy()
        values[:, : width // 2] = 0
        net.weights["a.w"] = numpy_helper.from_array(values, "a.w")
    return net.model(y)


def blocks_net(count, names=False, seed=0):
    """`count` blocks of a convolution each that are all alike, between a stem and a head."""
    net = Net(seed)
    x = net.conv("input", "stem", 1, 8)
    for i in range(count):
        x = net.add("Relu", [net.conv(x, f"block{i}", 8, 8)])
    x = net.conv(x, "last", 8, 4)
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x])])
    model = net.model(x)
    if not names:
        for node in model.graph.node:
            node.name = ""
    return model


def branching_net():
    """An If whose branches multiply."""
    then, other = (
        helper.make_graph(
            [helper.make_node(op, ["input", "w"][: 2 if op == "MatMul" else 1], [f"{op}_out"])],
            op,
            [],
            [helper.make_tensor_value_info(f"{op}_out", TensorProto.FLOAT, ["N", 4])],
        )
        for op in ("MatMul", "Relu")
    )
    nodes = [
        helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "limit"], ["large"]),
        helper.make_node("If", ["large"], ["logits"], name="choose", then_branch=then, else_branch=other),
    ]
    graph = helper.make_graph(
        nodes,
        "branches",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"), numpy_helper.from_array(np.float32(0), "limit")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
