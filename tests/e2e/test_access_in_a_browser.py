"""A server for a team in a real browser: signing in at a local OpenID provider, roles, deep links, and attempts to get around them.

Tests of the login itself need authlib, which Streamlit's login is made of. The others give the browser the signed cookie that the
end of a login leaves, so they need it not, and can choose when somebody signed in.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from tests.conftest import browser_required
from tests.e2e.browser import PATIENCE_S, browsing, free_port, serving, start_small_sweep
from tests.e2e.oidc import Provider, provider_of

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_S * 1000)

TEAM = """
[viewer]
domains = ["example.org"]
[editor]
emails = ["ana@example.org"]
claims = {groups = ["ml-team"]}
"""
PEOPLE: dict[str, dict[str, Any]] = {
    "bob": {"email": "bob@example.org", "email_verified": True},
    "ana": {"email": "ana@example.org", "email_verified": True},
    "zoe": {"email": "zoe@elsewhere.net", "email_verified": True, "groups": ["ml-team"]},
    "eve": {"email": "eve@evil.net", "email_verified": True},
    "mallory": {"email": "ana@example.org", "email_verified": False},
}
EXPLORED = "Example that ships with Paretoscope, really run"
WELCOME = "Which compressed version of my model should I ship?"


@dataclass
class Team:
    """A running server with an access file, and the provider that it trusts."""

    url: str
    home: Path
    provider: Provider
    cookie_secret: str

    def rules(self, text: str = TEAM) -> None:
        path = self.home / "access.toml"
        path.with_suffix(".part").write_text(text)
        path.with_suffix(".part").replace(path)

    def sign_in_by_cookie(self, page: Page, person: str, secret: str | None = None, **more: object) -> None:
        """What the end of a login leaves in the browser."""
        claims = {"iat": int(time.time()), "sub": person, "provider": "default", **PEOPLE[person], **more}
        payload = json.dumps({**claims, "origin": self.url, "is_logged_in": True})
        value = create_signed_value(secret or self.cookie_secret, USER_COOKIE_NAME, payload).decode()
        page.context.add_cookies([{"name": USER_COOKIE_NAME, "value": value, "url": self.url}])


def stand_ins(folder: Path) -> str:
    """Where authlib is missing: empty packages of its name, so that the server starts and everything but the login can be tested."""
    for name in ("authlib", "httpx"):
        if find_spec(name) is None:
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").write_text('"""A stand-in."""\n__version__ = "0"\n')
    return str(folder)


@pytest.fixture(scope="module")
def team(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    home = folder / "home"
    home.mkdir()
    port, secret = free_port(), secrets.token_hex(32)
    url = f"http://localhost:{port}"
    with provider_of(PEOPLE, f"{url}/oauth2callback") as provider, pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH",
            os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), stand_ins(folder / "packages")]),
        )
        found = Team(url, home, provider, secret)
        found.rules()
        auth = {
            "redirect_uri": provider.redirect_uri,
            "cookie_secret": secret,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "server_metadata_url": f"{provider.url}/.well-known/openid-configuration",
        }
        (home / "secrets.toml").write_text("[auth]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in auth.items()))
        command = [
            "-m",
            "engine.cli",
            "app",
            "--headless",
            "--port",
            str(port),
            "--address",
            "127.0.0.1",
            "--host",
            "localhost",
        ]
        with serving([sys.executable, *command], home, port):
            yield found


@pytest.fixture
def page(chromium: str, team: Team) -> Iterator[Page]:
    team.rules()
    team.provider.forge = False
    with browsing(chromium) as opened:
        yield opened


@pytest.fixture
def login(team: Team) -> Provider:
    """The provider, for tests that really sign in."""
    if find_spec("authlib") is None or find_spec("httpx") is None:
        message = "authlib and httpx are not installed, so nobody can sign in: python -m pip install authlib httpx"
        if browser_required():
            pytest.fail(message)
        pytest.skip(message)
    return team.provider


def sign_in(page: Page, person: str) -> None:
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name=person, exact=True).click()


def header(page: Page) -> Any:
    return page.locator(".st-key-who-am-i")


# The login itself.


@pytest.mark.usefixtures("login")
def test_a_viewer_signs_in_and_comes_back_to_the_deep_link(page: Page, team: Team) -> None:
    page.goto(f"{team.url}/explore?x=size_bytes&colour=energy_mj")
    expect(page.get_by_text("You come back to this page afterwards")).to_be_visible()
    sign_in(page, "bob")
    expect(page.get_by_text(EXPLORED)).to_be_visible()
    page.wait_for_url(re.compile(r"/explore\?.*x=size_bytes"))
    expect(header(page)).to_contain_text("bob@example.org · viewer")
    page.goto(f"{team.url}/new-sweep")
    expect(page.get_by_text("Your role here is viewer")).to_be_visible()
    expect(page.get_by_role("button", name="Start sweep")).to_have_count(0)


@pytest.mark.usefixtures("login")
def test_an_editor_by_a_group_signs_in_and_out_again(page: Page, team: Team) -> None:
    page.goto(f"{team.url}/new-sweep")
    sign_in(page, "zoe")
    expect(page.get_by_role("button", name="Start sweep")).to_be_enabled()
    expect(header(page)).to_contain_text("zoe@elsewhere.net · editor")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    # The page says so before the browser has told the provider.
    for _ in range(100):
        if any("GET /end-session" in line for line in team.provider.asked):
            break
        page.wait_for_timeout(100)
    assert any("GET /end-session" in line for line in team.provider.asked)
    assert USER_COOKIE_NAME not in {c["name"] for c in page.context.cookies()}


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("person", ["eve", "mallory"])
def test_an_unknown_person_and_an_unverified_address_are_refused(page: Page, team: Team, person: str) -> None:
    page.goto(team.url)
    sign_in(page, person)
    expect(page.get_by_text("has no role here")).to_be_visible()
    expect(page.get_by_text(EXPLORED)).to_have_count(0)


def test_a_token_with_a_foreign_signature_signs_nobody_in(page: Page, team: Team, login: Provider) -> None:
    login.forge = True
    page.goto(f"{team.url}/explore")
    sign_in(page, "ana")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert USER_COOKIE_NAME not in {c["name"] for c in page.context.cookies()}


# What a signed-in browser may do.


def test_a_viewer_looks_at_everything_and_starts_nothing(page: Page, team: Team) -> None:
    team.sign_in_by_cookie(page, "bob")
    page.goto(team.url)
    expect(page.get_by_text(WELCOME)).to_be_visible()
    expect(header(page)).to_contain_text("bob@example.org · viewer")
    expect(page.get_by_role("link", name="New sweep")).to_have_count(0)
    page.goto(f"{team.url}/new-sweep")
    expect(page.get_by_text("Your role here is viewer")).to_be_visible()
    expect(page.get_by_role("button", name="Start sweep")).to_have_count(0)


def test_an_editor_starts_a_sweep_a_viewer_follows_it_and_the_editor_cancels_it(
    page: Page, team: Team, chromium: str
) -> None:
    team.sign_in_by_cookie(page, "ana")
    page.goto(team.url)
    start_small_sweep(page)
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    with page.context.browser.new_context() as other:
        watching = other.new_page()
        watching.set_default_timeout(PATIENCE_S * 1000)
        team.sign_in_by_cookie(watching, "bob")
        watching.goto(page.url)
        expect(watching.get_by_text("nodes done")).to_be_visible()
        expect(watching.get_by_role("button", name="Cancel")).to_have_count(0)
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("The sweep was cancelled")).to_be_visible()
        expect(watching.get_by_text("The sweep was cancelled")).to_be_visible()
        expect(page.get_by_role("button", name="Go on with it")).to_be_visible()
        expect(watching.get_by_role("button", name="Go on with it")).to_have_count(0)


def test_who_is_removed_loses_the_page_at_the_next_click(page: Page, team: Team) -> None:
    team.sign_in_by_cookie(page, "bob")
    page.goto(f"{team.url}/explore")
    expect(page.get_by_role("slider", name="File size")).to_be_visible()
    team.rules("[editor]\nemails = ['ana@example.org']\n")
    page.get_by_role("slider", name="File size").press("ArrowLeft")
    expect(page.get_by_text("has no role here")).to_be_visible()
    expect(page.get_by_text(EXPLORED)).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


@pytest.mark.parametrize(
    ("person", "how", "said"),
    [
        ("eve", {}, "has no role here"),
        ("mallory", {}, "has no role here"),
        ("ana", {"secret": "guessed" * 8}, "Sign in to see the sweeps"),
        ("ana", {"iat": 1_700_000_000}, "Your sign-in has run out"),
    ],
)
def test_no_other_cookie_opens_a_page(page: Page, team: Team, person: str, how: dict[str, Any], said: str) -> None:
    team.sign_in_by_cookie(page, person, **how)
    page.goto(f"{team.url}/explore")
    expect(page.get_by_text(said)).to_be_visible()
    expect(page.get_by_text(EXPLORED)).to_have_count(0)


def test_no_link_shows_anything_before_the_login(page: Page, team: Team) -> None:
    for path in ("", "explore", "new-sweep", "home", "explore?sweep=example&x=size_bytes", "new-sweep?run=x"):
        page.goto(f"{team.url}/{path}")
        expect(page.get_by_text("Sign in to see the sweeps of this server")).to_be_visible()
        for absent in (
            page.get_by_text(WELCOME),
            page.get_by_text("What this will run"),
            page.get_by_role("link", name="Explore"),
        ):
            expect(absent).to_have_count(0)


def test_the_way_back_from_the_provider_leads_to_the_page_that_was_left(page: Page, team: Team) -> None:
    page.goto(f"{team.url}/explore?x=size_bytes&sweep=example")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    # As Streamlit leaves for the login: with a token that has run out it turns around at once, to the front page.
    page.evaluate("window.location.href = '/auth/login?provider=stale'")
    page.wait_for_url(lambda url: url.rstrip("/") == team.url)
    page.goto(f"{team.url}/oauth2callback?state=stale")
    page.wait_for_url(re.compile(r"/explore\?x=size_bytes&sweep=example"))


# Requests from elsewhere.


def ask(team: Team, method: str, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", int(team.url.rpartition(":")[2]), timeout=PATIENCE_S)
    try:
        connection.request(method, path, body=b"x" if method == "PUT" else None, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def handshake(team: Team, **headers: str) -> int:
    asking = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "A" * 22 + "==",
    }
    return ask(team, "GET", "/_stcore/stream", **asking, **headers)


def test_uploads_without_the_token_of_a_page_are_refused(team: Team) -> None:
    assert ask(team, "PUT", "/_stcore/upload_file/session/file") == 403
    assert ask(team, "DELETE", "/_stcore/upload_file/session/file") == 403


def test_other_sites_and_other_names_get_no_connection(team: Team) -> None:
    here = team.url.removeprefix("http://")
    assert handshake(team, Host=here, Origin=team.url) == 101
    assert handshake(team, Host="evil.net", Origin="http://evil.net") == 403


def test_nothing_drives_pages_without_a_browser(team: Team) -> None:
    assert ask(team, "POST", "/_stcore/agent/interact") in {403, 404, 501}
