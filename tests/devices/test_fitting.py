import numpy as np
import pytest

from engine.devices.fitting import (
    FEATURES,
    PRIORS,
    Observation,
    PooledFit,
    Prior,
    leave_network_out,
    leave_one_out,
    mape,
)

TRUE_NS = np.array([3.0, 9.0, 2.0, 8.0, 4.0, 5.0, 2500.0])


def networks(count, seed=0):
    """Feature vectors that spend their time in different kinds of layers."""
    random = np.random.default_rng(seed)
    share = random.dirichlet(np.full(len(FEATURES), 0.5), count)
    return share * random.uniform(1e6, 1e7, (count, 1)) * 10 / TRUE_NS


def rows(system="a", count=30, scale=1.0, noise=0.0, family="f"):
    random = np.random.default_rng(1)
    made = networks(count)
    ms = made @ TRUE_NS * 1e-6 * scale * np.exp(noise * random.standard_normal(count))
    return [Observation(system, family, tuple(x), float(y)) for x, y in zip(made, ms, strict=True)]


WIDE = Prior((1.0, 4.0, 1.0, 3.0, 1.5, 2.0, 1000.0), common=2.0, family=1.0, system=0.5, noise=0.01)


def test_known_costs_come_back_from_rows_without_noise():
    fit = PooledFit(rows(), WIDE)
    assert fit.costs_ns("a", "f") == pytest.approx(TRUE_NS, rel=0.03)
    new = networks(5, seed=9)
    for x in new:
        assert fit.predict(x, "a", "f").latency_ms == pytest.approx(float(x @ TRUE_NS) * 1e-6, rel=0.02)


def test_known_costs_come_back_from_noisy_rows_and_one_that_is_far_off():
    observed = rows(count=60, noise=0.05)
    observed[7] = Observation("a", "f", observed[7].features, observed[7].latency_ms * 8)
    prior = Prior(WIDE.cost, 2.0, 1.0, 0.5, noise=0.05)
    assert PooledFit(observed, prior).costs_ns("a", "f") == pytest.approx(TRUE_NS, rel=0.25)


def test_a_system_with_two_rows_borrows_its_shape_from_the_others():
    few = [Observation("b", "f", o.features, 10 * o.latency_ms) for o in rows(count=2)]
    fit = PooledFit([*rows(), *few], WIDE)
    for x in networks(5, seed=4):
        assert fit.predict(x, "b", "f").latency_ms == pytest.approx(10 * float(x @ TRUE_NS) * 1e-6, rel=0.15)


def test_no_cost_is_negative_whatever_the_rows_say():
    random = np.random.default_rng(3)
    odd = [Observation("a", "f", tuple(x), float(random.uniform(0.1, 50))) for x in networks(12)]
    fit = PooledFit(odd, PRIORS["microcontroller"])
    assert (fit.costs_ns("a", "f") > 0).all()


def test_a_prediction_is_less_sure_of_layers_that_no_row_holds():
    no_dense = [Observation("a", "f", (*o.features[:4], 0.0, *o.features[5:]), o.latency_ms) for o in rows()]
    fit = PooledFit(no_dense, WIDE)
    like_rows = no_dense[0].features
    dense = (0.0, 0.0, 0.0, 0.0, 1e6, 1e3, 1.0)
    assert fit.predict(dense, "a", "f").log_sd > 3 * fit.predict(like_rows, "a", "f").log_sd


def test_left_out_rows_are_predicted_without_them():
    observed = rows(count=12, noise=0.03)
    prior = Prior(WIDE.cost, 2.0, 1.0, 0.5, noise=0.03)
    left = leave_one_out(observed, prior)
    assert len(left) == 12
    without = PooledFit(observed[1:], prior).predict(observed[0].features, "a", "f")
    assert left[0].prediction.latency_ms == pytest.approx(without.latency_ms, rel=0.02)
    # A row that is moved does not move the prediction of itself.
    moved = [Observation("a", "f", observed[0].features, observed[0].latency_ms * 3), *observed[1:]]
    assert leave_one_out(moved, prior)[0].prediction.latency_ms == pytest.approx(without.latency_ms, rel=0.05)
    assert not leave_one_out(moved, prior)[0].covered


def test_a_network_is_left_out_of_all_systems():
    both = [*rows("a", 6), *rows("b", 6, scale=2)]
    left = leave_network_out(both, WIDE)
    assert len(left) == 12
    others = [o for o in both if o.features != both[0].features]
    alone = PooledFit(others, WIDE).predict(both[0].features, "a", "f").latency_ms
    assert left[0].prediction.latency_ms == pytest.approx(alone)


def test_a_system_with_one_row_cannot_be_left_out():
    lonely = Observation("c", "f", rows()[0].features, 1.0)
    assert all(left.observation.system == "a" for left in leave_one_out([*rows(count=3), lonely], WIDE))


def test_errors_are_shares_of_what_was_measured():
    assert mape([np.log(1.5), np.log(0.5)]) == pytest.approx(0.5)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        PooledFit([], WIDE)
