"""What became of each layer, against pairs of graphs whose difference was made by hand."""

import numpy as np
import pytest

from engine.graph.count_layer_graph import layer_graph
from engine.graph.graph_difference import (
    BITS,
    FIRST_ALONE,
    GONE,
    NARROWER,
    NEW,
    OPERATOR,
    SAME,
    SECOND_ALONE,
    SPARSER,
    WIDER,
    difference_rows,
    graph_difference,
    summary,
)
from tests.helpers.graph_pairs import Net, blocks_net, residual_net


def _difference(first, second, **options):
    return graph_difference(layer_graph(first), layer_graph(second), **options)


def _changed(difference):
    """{title: changes} of what is not the same."""
    return {difference.title(p): p.changes for p in difference.pairs if p.changes != (SAME,)}


def test_a_network_against_itself_is_the_same_everywhere():
    found = _difference(residual_net(), residual_net())

    assert _changed(found) == {}
    assert summary(found) == "the same 4 layers in the same bits"
    assert all(p.first == p.second for p in found.pairs)


def test_what_was_taken_away_is_gone_and_what_was_put_in_is_new():
    gone = _difference(residual_net(), residual_net(softmax=False))
    new = _difference(residual_net(), residual_net(extra=True))

    assert _changed(gone) == {"softmax": (GONE,)}
    assert summary(gone) == "1 gone (Softmax)"
    assert _changed(new) == {"extra": (NEW,)}
    assert summary(new) == "1 new (Conv)"
    # The layer behind it is still the same one, now reached by another way.
    assert sorted(what for _, _, what in new.edges()) == [GONE, NEW, NEW, *[SAME] * 8]


def test_fewer_channels_are_narrower_with_their_numbers_and_more_are_wider():
    found = _difference(residual_net(width=8), residual_net(width=5))

    assert _changed(found) == dict.fromkeys(("stem", "a", "b", "head"), (NARROWER,))
    assert summary(found) == "4 of 4 layers narrower"
    said = {found.title(p): p.said for p in found.pairs if p.said}
    assert said["stem"] == ("8 → 5 channels",)
    assert said["a"] == ("8 → 5 inputs", "8 → 5 channels")
    assert said["head"] == ("8 → 5 inputs",)
    assert set(_changed(_difference(residual_net(width=5), residual_net(width=8))).values()) == {(WIDER,)}


def test_rounded_layers_are_in_other_bits_and_stay_matched_without_the_names_of_sums():
    second = residual_net(bits=8)
    for node in second.graph.node:
        if node.op_type in ("Add", "Softmax", "Relu"):
            node.name = ""
    found = _difference(residual_net(), second)

    assert _changed(found) == dict.fromkeys(("stem", "a", "b"), (BITS,))
    assert {p.said for p in found.pairs if p.said} == {("weights 32 → 8 bits", "activations 32 → 8 bits")}
    assert all(p.first is not None and p.second is not None for p in found.pairs)


def test_several_changes_of_one_layer_are_all_told():
    found = _difference(residual_net(), residual_net(width=4, bits=8, softmax=False))

    assert _changed(found)["a"] == (NARROWER, BITS)
    assert summary(found) == "4 of 4 layers narrower, 3 in other bits, 1 gone (Softmax)"


def test_another_activation_is_another_operator():
    found = _difference(residual_net(), residual_net(activation="Sigmoid"))

    assert _changed(found) == {"stem": (OPERATOR,), "a": (OPERATOR,)}
    assert {p.said for p in found.pairs if p.said} == {("Relu → Sigmoid",)}


def test_pruned_single_weights_are_more_zeros():
    found = _difference(residual_net(), residual_net(sparse=True))

    assert _changed(found) == {"a": (SPARSER,)}
    assert [p.said for p in found.pairs if p.said] == [("0% → 50% of its weights are zero",)]


def test_renamed_layers_are_known_by_their_weights():
    found = _difference(residual_net(), residual_net(prefix="module/", softmax=False))

    assert found.lineage
    assert {p.how for p in found.pairs if found.box(p).is_layer} == {"weights"}
    assert _changed(found) == {"softmax": (GONE,)}


def test_renamed_and_trained_anew_layers_are_known_by_place_where_the_graphs_agree():
    found = _difference(residual_net(), residual_net(names=False, seed=1, width=6))

    assert not found.lineage
    assert {p.how for p in found.pairs} == {"place"}
    assert set(_changed(found)) == {"stem", "a", "b", "head"}
    assert "matched by place" in summary(found)


def test_names_that_mean_other_layers_are_not_believed():
    # Other kernels under the same names; then the same kernels, of which the recipe says that they are others.
    net = Net(1)
    x = net.conv(net.conv("input", "stem", 1, 8, kernel=5), "a", 8, 8, kernel=5)
    x = net.add("Flatten", [net.add("GlobalAveragePool", [net.conv(x, "b", 8, 8, kernel=5)])])
    found = _difference(residual_net(), net.model(net.add("MatMul", [x, net.weight("head.w", 8, 4)], "fc")))

    assert not found.lineage
    alone = {p.changes for p in found.pairs if found.box(p).op_type == "Conv"}
    assert alone == {(FIRST_ALONE,), (SECOND_ALONE,)}
    assert "name" not in {p.how for p in _difference(residual_net(), residual_net(seed=1), by_name=False).pairs}


def test_fewer_blocks_that_are_all_alike_are_not_told_apart_by_guess():
    found = _difference(blocks_net(4), blocks_net(2, seed=1))
    matched = [found.box(p).channels for p in found.pairs if p.how and found.box(p).is_layer]

    assert not found.lineage
    # The first and the last are alone of their kind; which two of the four blocks the others are, nobody can say.
    assert matched == [(1, 8), (8, 4)]
    assert [len([p for p in found.pairs if p.changes == (side,)]) for side in (FIRST_ALONE, SECOND_ALONE)] == [4, 2]


def test_as_many_blocks_are_matched_one_by_one():
    found = _difference(blocks_net(3), blocks_net(3, seed=1))

    assert [p.first for p in found.pairs] == [p.second for p in found.pairs]


def _shared(names):
    net = Net()
    x = net.conv("input", names[0], 1, 8)
    x = net.add("Relu", [net.conv(x, names[1], 8, 8, weight="both")])
    x = net.add("Relu", [net.conv(x, names[2], 8, 8, weight="both")])
    x = net.add("Flatten", [net.add("GlobalAveragePool", [net.conv(x, names[3], 8, 4, weight="last")])])
    return net.model(x)


def test_two_layers_that_share_a_weight_stay_two():
    again = _difference(_shared("abcd"), _shared("abcd"))
    renamed = _difference(_shared("abcd"), _shared("efgh"))

    assert {p.how for p in again.pairs if again.box(p).is_layer} == {"name"}
    # Their weights are the same, so weights cannot tell them apart; their place can.
    assert [(p.first, p.second) for p in renamed.pairs] == [(p.first, p.second) for p in again.pairs]
    assert {p.how for p in renamed.pairs if renamed.title(p) in "fg"} == {"place"}


@pytest.mark.parametrize("turned", [False, True])
def test_every_layer_of_both_is_in_the_table_once(turned):
    pair = residual_net(), residual_net(width=5, softmax=False, extra=True)
    found = _difference(*(pair[::-1] if turned else pair))
    rows = difference_rows(found)

    for side, graph in enumerate((found.first, found.second)):
        at = [(p.first, p.second)[side] for p in found.pairs]
        assert sorted(i for i in at if i is not None) == list(range(len(graph.boxes)))
    assert len(rows) == 8
    assert [r["changes"] for r in rows if r["layer"] == "softmax"] == [NEW if turned else GONE]
    assert sum(r["first_params"] or 0 for r in rows) == sum(b.params or 0 for b in found.first.boxes)
    assert np.all([r["matched_by"] is None or r["first_operators"] is not None for r in rows])
