"""Filters in plain form: read, written, refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.frontier.filter import LONGEST, And, Compare, Not, Or, filter_text, parse_filter
from engine.frontier.units import base_value

SMALL = Compare("size", "<", "50", "kB")
GOOD = Compare("accuracy", ">", "92")
INT8 = Compare("label", "~", "int8", quoted=True)
RUN = st.text(st.characters(categories=["L", "N", "Pd", "Sc", "So"]), min_size=1, max_size=6)
NAMES = st.one_of(
    RUN.filter(lambda t: t.lower() not in {"and", "or", "not"}), st.sampled_from(["and", "mAP at (50)", "a b", "<"])
)
UNITS = st.sampled_from(["", "%", "kB", "ms", "×"])
NUMBERS = st.one_of(st.integers(), st.floats(-1e12, 1e12).filter(lambda v: "e" not in repr(v))).map(repr)
COMPARISONS = st.one_of(
    st.builds(Compare, NAMES, st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), NUMBERS, UNITS),
    st.builds(
        Compare,
        NAMES,
        st.sampled_from(["=", "!=", "~", "!~"]),
        st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])),
        quoted=st.just(True),
    ),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda parts: st.one_of(
        parts.map(Not),
        st.lists(parts, min_size=2, max_size=3).map(lambda p: And(tuple(p))),
        st.lists(parts, min_size=2, max_size=3).map(lambda p: Or(tuple(p))),
    ),
    max_leaves=6,
)


@given(FILTERS)
def test_a_filter_that_is_written_is_read_the_same(found):
    text = filter_text(found)
    if len(text) <= LONGEST:
        assert parse_filter(text) == found


def refusal(text):
    """Why a text is no filter; None where it is one that is written and read the same."""
    try:
        found = parse_filter(text)
    except SpecError as error:
        return str(error)
    return None if parse_filter(filter_text(found)) == found else "it is read as another"


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text):
    said = refusal(text)
    assert said is None or (said.startswith("filter, character") and len(said.splitlines()) == 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("accuracy > 92 and size < 50 kB", And((GOOD, SMALL))),
        ("accuracy>92 AND size<50kB", And((GOOD, SMALL))),
        ("accuracy > 92 or size < 50 kB and label ~ int8", Or((GOOD, And((SMALL, INT8))))),
        ("(accuracy > 92 or size < 50 kB) and label ~ int8", And((Or((GOOD, SMALL)), INT8))),
        ("not label ~ 'int8'", Not(INT8)),
        ("not not label =~ int8", Not(Not(INT8))),
        ("weight_bits ≤ 4", Compare("weight_bits", "<=", "4")),
        ("student == ds_cnn", Compare("student", "=", "ds_cnn", quoted=True)),
        ("`mAP at 50` >= .4", Compare("mAP at 50", ">=", ".4")),
        ('label = "a \\"b\\" \\\\ and"', Compare("label", "=", 'a "b" \\ and', quoted=True)),
        ("layers = 8da4w", Compare("layers", "=", "8", "da4w")),
    ],
)
def test_and_binds_closer_than_or_and_quotes_hold_anything(text, found):
    assert parse_filter(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "character 1 (its end): it is empty"),
        ("accuracy", "character 9 (its end): a sign is missing after `accuracy`"),
        ("accuracy >", "character 11 (its end): a value is missing after `>`"),
        ("accuracy > and size < 3 kB", "character 12 (and size < 3 kB): a value is missing"),
        ("> 3", "character 1 (> 3): a name is missing"),
        ("(accuracy > 3", "character 1 ((accuracy > 3): this `(` is not closed"),
        ("accuracy > 3)", "character 13 ()): a `)` too many"),
        ("accuracy > 3 % size < 3 kB", "character 16 (size < 3 kB): `and`, `or` or the end is missing"),
        ("label = 'int8", "this ' is not closed"),
        ("`` > 3", "the name is empty"),
        ("a = 1\x00", "'\\x00' is no letter"),
        ("(" * 60 + "a = 1" + ")" * 60, "more than 40 brackets"),
        ("not " * 60 + "a = 1", "more than 40 brackets"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, said):
    with pytest.raises(SpecError) as caught:
        parse_filter(text)
    assert said in str(caught.value)


def test_a_filter_that_is_too_long_is_refused():
    with pytest.raises(SpecError, match=f"{LONGEST} are the most"):
        parse_filter("a = " + "b" * LONGEST)


@pytest.mark.parametrize(
    ("key", "number", "unit", "base"),
    [
        ("accuracy", "91.24", "", 9124 / 10_000),
        ("accuracy", "0.5", "%", 0.005),
        ("vs_baseline", "-1.5", "", -0.015),
        ("size_bytes", "50", "KB", 50_000),
        ("size_bytes", "1.5", "MiB", 1_572_864),
        ("latency_ms", "120", "µs", 0.12),
        ("latency_ms", "0.3", "", 0.3),
        ("energy_mj", "2", "J", 2000),
        ("macs", "9.5", "M", 9_500_000),
        ("params", "78", "k", 78_000),
        ("params", "78000", "", 78_000),
        ("latency_ratio", "0.7", "×", 0.7),
        ("score:MAE:min:K", "2", "K", 2),
        ("score:Mean IoU:max:%", "60", "", 0.6),
    ],
)
def test_numbers_are_in_the_unit_of_the_table_or_the_one_that_is_typed(key, number, unit, base):
    assert base_value(key, "it", number, unit) == base


@pytest.mark.parametrize(
    ("key", "number", "unit", "said"),
    [
        ("accuracy", "0.92", "", "write 0.92 %, or 92 %"),
        ("accuracy", "1", "", "write 1 %, or 100 %"),
        ("size_bytes", "50", "", "write 50 kB, or 50 B"),
        ("macs", "9", "", "write 9 M"),
        ("latency_ms", "3", "kB", "'kB' is no unit of it; known: ns, us"),
        ("score:F1:max:", "3", "K", "it has no unit"),
        ("latency_ms", "1e999", "", "too large"),
    ],
)
def test_a_number_that_could_mean_two_things_is_refused(key, number, unit, said):
    with pytest.raises(SpecError, match=said):
        base_value(key, "it", number, unit)


def test_a_name_that_says_its_unit_needs_none():
    assert base_value("size_bytes", "size_bytes", "50000", "") == 50_000
