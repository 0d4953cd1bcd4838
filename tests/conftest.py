"""Shared by all tests: a home of their own for each worker, one thread each, and where the browser is."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing about whether the code is right, least of all on two shared cores.
settings.register_profile("paretoscope", deadline=None)
settings.load_profile("paretoscope")

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_HOME = pytest.StashKey[str]()


def find_browser() -> str | None:
    """The system's Chromium, or None."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


def browser_required() -> bool:
    return os.environ.get("PARETOSCOPE_REQUIRE_BROWSER", "") not in {"", "0"}


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported: no test sees the user's own store, and none takes all cores."""
    for name in ("PARETOSCOPE_STORE", "PARETOSCOPE_ARTIFACTS", "PARETOSCOPE_HOST_WATTS"):
        os.environ.pop(name, None)
    config.stash[_HOME] = os.environ["PARETOSCOPE_HOME"] = tempfile.mkdtemp(prefix="paretoscope-test-home-")
    # Read by torch, numpy and Dask's workers when they start; so no test has to import torch to say it.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PARETOSCOPE_CORES"):
        os.environ[name] = "1"
    os.environ["PARETOSCOPE_DEVICE"] = "cpu"
    # Tests beside each other assert nothing of times, and would wait for each other's measurements.
    os.environ["PARETOSCOPE_HOST_LOCK"] = os.environ["PARETOSCOPE_HOME"]


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash.get(_HOME, ""), ignore_errors=True)


def pytest_report_header() -> str:
    browser = find_browser()
    if browser:
        return f"browser tests: with {browser}"
    fate = "will fail" if browser_required() else "will be skipped"
    return f"browser tests: {fate}, no Chromium found (Debian: apt-get install chromium)"


@pytest.fixture(autouse=True)
def _functions_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that runs app.py in its own process forbids users' functions there, for itself alone."""
    from engine.datasets.function import Permission

    monkeypatch.setattr(Permission, "given", True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PARETOSCOPE_HOME for one test."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("PARETOSCOPE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the system's Chromium; without one the test is skipped, or fails where browsers are required."""
    browser = find_browser()
    if browser is None:
        message = "no Chromium found; install it (Debian: apt-get install chromium) to run the browser tests"
        if browser_required():
            pytest.fail(message)
        pytest.skip(message)
    return browser


@pytest.fixture(autouse=True)
def _temporary_files_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that works in its own process as a worker or a server does moves temporary files (`engine.scratch`) for itself alone."""
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())


@pytest.fixture(autouse=True)
def _main_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that runs in a test's own process takes the place of the main module, which worker processes look for."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
