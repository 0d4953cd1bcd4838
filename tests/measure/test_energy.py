import pytest

from engine.errors import SetupError
from engine.measure.energy import ENVIRONMENT, host_energy
from engine.trials.evidence import Interval
from engine.trials.measurements import Machine

HOST = Machine("0" * 64, "some CPU", 8, 16.0, (), "Linux x86_64", {})
TWO_MS = Interval(2.0, 1.9, 2.2)


@pytest.fixture(autouse=True)
def _nothing_stated(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)


def test_energy_is_milliseconds_times_watts_and_says_what_it_assumes():
    energy = host_energy(TWO_MS, 1, HOST)
    assert energy.source == "datasheet"
    assert energy.value == pytest.approx(2.0 * 5.1)
    assert energy.low == pytest.approx(1.9 * 1.9)
    assert energy.high == pytest.approx(2.2 * 13.5)
    for words in ("assumed 5.1 W", "1.9–13.5 W", "one busy core", ENVIRONMENT):
        assert words in energy.basis


def test_more_threads_draw_more_power_up_to_the_cores_there_are():
    one, four = host_energy(TWO_MS, 1, HOST), host_energy(TWO_MS, 4, HOST)
    assert (four.value, four.low, four.high) == pytest.approx((4 * one.value, 4 * one.low, 4 * one.high))
    assert "4 busy cores" in four.basis
    assert host_energy(TWO_MS, 64, HOST) == host_energy(TWO_MS, 8, HOST)


def test_stated_watts_replace_the_assumption(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, " 12.5 ")
    energy = host_energy(TWO_MS, 4, HOST)
    assert (energy.value, energy.low, energy.high) == pytest.approx((25, 23.75, 27.5))
    assert "12.5 W, as stated" in energy.basis


@pytest.mark.parametrize("text", ["0", "-3", "lots", "nan", "inf", "5 W"])
def test_watts_that_are_no_positive_number_are_refused(monkeypatch, text):
    monkeypatch.setenv(ENVIRONMENT, text)
    with pytest.raises(SetupError, match=f"{ENVIRONMENT} is {text!r}; give a positive number of watts"):
        host_energy(TWO_MS, 1, HOST)
