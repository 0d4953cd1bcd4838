"""People with and without roles, and pages as they see them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from tests.helpers.places import ROOT

PATIENCE_S = 300
TEAM = """
[viewer]
domains = ["example.org"]
[editor]
emails = ["ana@example.org"]
"""


def person(email: str, **more: object) -> dict[str, Any]:
    return {"is_logged_in": True, "email": email, "email_verified": True, "iat": int(time.time()), "sub": email} | more


ANONYMOUS = {"is_logged_in": False}
VIEWER, EDITOR, STRANGER = person("bob@example.org"), person("ana@example.org"), person("eve@evil.net")


def write(home: Path, text: str = TEAM) -> None:
    path = home / "access.toml"
    path.write_text(text)
    # The clock of a file system may tick more slowly than a test.
    stamp = time.time_ns() + len(text) * 1_000_000
    os.utime(path, ns=(stamp, stamp))


def visit(user: dict[str, Any], page: str | None = None, script: str = "app.py", **params: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / script), default_timeout=PATIENCE_S)
    app.secrets["auth"] = {"client_id": "paretoscope", "okta": {"client_id": "also"}}
    app.user = user
    app.query_params.update(params)
    app.run()
    if page:
        app.switch_page(f"pages/{page}/page.py")
        app.query_params.update(params)
        app.run()
    assert not app.exception
    return app


def labels(app: AppTest) -> list[str]:
    return [b.label for b in app.button]


def shows_nothing(app: AppTest) -> bool:
    return not (app.dataframe or app.metric or app.selectbox or app.table or app.get("plotly_chart"))
