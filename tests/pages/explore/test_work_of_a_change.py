"""What a change on Explore works out again, counted: neither what no limit changes, nor anything point by point that is known once."""

from __future__ import annotations

import tempfile

import pytest

from engine.figures import table_twin as twins
from engine.frontier import matching
from engine.frontier.columns import Trials
from pages.explore import options
from pages.shared import plots
from tests.helpers.pages import address, enter, open_app
from tests.helpers.trial_factory import sweep_trials

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def counted(monkeypatch):
    """Replaces a function by one that counts its calls, wherever it is looked up; the calls' arguments, by the function's name."""
    calls: dict[str, list[tuple[object, ...]]] = {}

    def count(name: str, *places: object) -> list[tuple[object, ...]]:
        found = calls.setdefault(name, [])
        for place in places:
            real = getattr(place, name)
            monkeypatch.setattr(place, name, lambda *a, _real=real, **k: found.append(a) or _real(*a, **k))
        return found

    return count


def test_a_limit_costs_one_chart_and_no_file_and_nothing_that_limits_leave_as_it_is(counted):
    enter()
    twin, names = counted("table_twin", twins, plots, options), counted("_options_of", matching)
    written = counted("TemporaryFile", tempfile)
    app = open_app()
    assert len(twin) == 3, "the chart of the recipes comes before the page and with it, that of the options with it"
    assert names
    for done in (twin, names, written):
        done.clear()
    slider = next(s for s in app.slider if s.label.startswith("File size"))
    slider.set_value(slider.value - slider.step).run()
    assert "max_size_bytes" in address(app)
    assert len(twin) == 1, "the table beside the options is read off their chart once"
    assert not names, "which options the recipes have is known with the recipes"
    assert not written, "whether the home can be written is not tried by reading"


def test_what_follows_from_trials_is_made_once_for_them_and_anew_for_others():
    trials, made = Trials.of(sweep_trials()), list[int]()
    make = lambda those: made.append(len(those)) or len(those)  # noqa: E731
    assert [trials.once("length", make), trials.once("length", make), trials[:3].once("length", make)] == [24, 24, 3]
    assert made == [24, 3]
    assert trials.measured() == trials.measured("host") == Trials.of(sweep_trials()).measured()
