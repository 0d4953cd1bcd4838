"""Taking a trial home from its page: a bundle at once, another runtime's form once it is made and checked, or why it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import InputError
from engine.export import c_array
from pages.shared import trial_panel
from tests.helpers.pages import open_app, words

SWEEP = "example-resnet8-on-fashion-mnist-ff65e7"


def labels(app: object, kind: str) -> list[str]:
    return [str(one.proto.label) for one in app.get(kind)]  # type: ignore[attr-defined]


def test_another_form_is_made_before_it_is_downloaded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app("trial", sweep=SWEEP, trial="8f5382100237")
    assert "Export bundle" in labels(app, "download_button")
    app.selectbox(key=f"export-for-{SWEEP}-8f5382100237").select("c").run()
    assert "Export bundle" not in labels(app, "download_button")
    (prepare,) = [button for button in app.button if button.label == "Prepare for C array"]
    monkeypatch.setattr(c_array, "LARGEST_MODEL", 1000)
    prepare.click().run()
    assert not app.exception
    assert "from a file instead" in words(app), [e.value for e in app.error]
    assert "Download for C array" not in labels(app, "download_button")
    monkeypatch.undo()
    (prepare,) = [button for button in app.button if button.label == "Prepare for C array"]
    prepare.click().run()
    assert "Download for C array" in labels(app, "download_button")


def test_unknown_forms_are_refused_where_they_are_made(home: Path) -> None:
    with pytest.raises(InputError, match="--for kserve is unknown"):
        trial_panel.bundle_bytes(SWEEP, "8f5382100237", "kserve")
