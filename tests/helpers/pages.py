"""Pages run as Streamlit runs them, from app.py, and what they say."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from engine.spec.sweep import Sweep, parse_sweep
from engine.store.store import Store
from tests.helpers.places import ROOT
from tests.helpers.trial_factory import SPACE, sweep_trials

# Says when something hangs; how long a page takes is for the benchmark.
PATIENCE_S = 120


def enter(name: str = "first", state: str = "done", failed: int = 0, pending: int = 0, space: object = SPACE) -> Sweep:
    """Put a sweep with made-up trials into the store of this test."""
    store = Store.open()
    sweep = parse_sweep({"name": name, "model": {"source": "resnet8"}, "space": space})
    trials = sweep_trials(failed=failed, pending=pending)
    store.begin(sweep, trials, nodes_total=110, nodes_done=110)
    for made in trials:
        store.save_trial(sweep.id, made)
    if state != "running":
        store.end(sweep.id, state, "the disk is full" if state == "failed" else None)
    return sweep


def open_app(page: str | None = "explore", **params: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE_S)
    if page:
        app.run().switch_page(f"pages/{page}/page.py")
    app.query_params.update(params)
    # The first run of a page may show its chart alone; the browser then asks for the rest by itself.
    app.run().run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """All that the page says."""
    kinds = ("markdown", "caption", "info", "warning", "error", "success", "subheader")
    return "\n".join(str(e.value) for kind in kinds for e in getattr(app, kind))


def address(app: AppTest) -> dict[str, str]:
    return {k: v[-1] if isinstance(v, list) else v for k, v in app.query_params.items()}
