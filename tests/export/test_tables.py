"""Tables to take away: what is in them where something is not known."""

from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd

from engine.export import tables as table_export
from engine.frontier.columns import Trials
from tests.helpers.trial_factory import trial


def test_a_trial_without_a_latency_is_written_like_the_others():
    without = replace(trial(), latency_ms=None, latency_ratio=None, timing=None)
    rows = table_export.number_rows([without], ("host", *(d for d in without.projections if d != "host"), "elsewhere"))
    assert {tuple(r) for r in rows} == {tuple(rows[0])}
    assert len(pd.read_csv(io.BytesIO(table_export.to_csv(rows)))) == len(rows)


def test_what_is_not_known_to_fit_is_not_said_to():
    assert table_export.device_rows(Trials.of([trial()]), ["no-such-board"])[0]["fits"] is None
