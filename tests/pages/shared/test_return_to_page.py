"""Back to the page after the login."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pages.shared.return_to_page import COOKIE, ReturnToPage, is_local_path, page_of

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize(
    ("referer", "page"),
    [
        ("https://box.lan/explore?sweep=a&x=b", "/explore?sweep=a&x=b"),
        ("https://box.lan/", "/"),
        ("https://evil.net/explore", None),
        ("https://box.lan.evil.net/explore", None),
        ("https://box.lan@evil.net/explore", None),
        ("https://box.lan//evil.net", None),
        ("https://box.lan/\\evil.net", None),
        ("javascript:alert(1)", None),
        ("https://[box.lan/", None),
        ("https://box.lan/a set-cookie: x", None),
        (f"https://box.lan/{'x' * 3000}", None),
        (None, None),
    ],
)
def test_only_pages_of_this_server_are_remembered(referer: str | None, page: str | None):
    assert page_of(referer, "box.lan") == page


@pytest.mark.parametrize("path", ["//evil.net", "/\\evil.net", "https://evil.net", "", "evil", "/é", "/a\nb", "/a b"])
def test_nothing_leads_away(path: str):
    assert not is_local_path(path)


def through(path: str, location: str = "/", status: int = 302, **headers: str) -> dict[str, list[str]]:
    """The headers of a server's redirect as they come out of the middleware."""
    found: list[Any] = []

    async def server(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"location", location.encode())]})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        found.append(message)

    asked = [(k.encode(), v.encode()) for k, v in {"host": "box.lan", **headers}.items()]
    scope = {"type": "http", "path": path, "scheme": "https", "headers": asked}
    asyncio.run(ReturnToPage(server)(scope, receive, send))
    out: dict[str, list[str]] = {}
    for name, value in found[0]["headers"]:
        out.setdefault(name.decode(), []).append(value.decode())
    return out


def test_a_login_comes_back_to_the_page_that_it_left():
    out = through("/auth/login", "https://id.net/authorize", referer="https://box.lan/explore?sweep=a&x=b")
    (cookie,) = out["set-cookie"]
    assert out["location"] == ["https://id.net/authorize"]
    assert "HttpOnly; SameSite=Lax; Secure" in cookie
    value = cookie.partition(";")[0]
    assert through("/oauth2callback", cookie=value)["location"] == ["/explore?sweep=a&x=b"]
    assert "Max-Age=0" in through("/oauth2callback", cookie=value)["set-cookie"][0]
    assert through("/oauth2callback")["location"] == ["/"]


def test_a_forged_cookie_leads_nowhere_else():
    for forged in ("https%3A%2F%2Fevil.net", "%2F%2Fevil.net", "%2F%5Cevil.net", "%0d%0aset-cookie"):
        assert through("/oauth2callback", cookie=f"{COOKIE}={forged}")["location"] == ["/"]


def test_a_login_from_elsewhere_forgets_an_older_page_and_other_answers_pass_untouched():
    assert "Max-Age=0" in through("/auth/login", referer="https://evil.net/explore")["set-cookie"][0]
    assert "set-cookie" not in through("/explore", cookie=f"{COOKIE}=%2Fx")
    assert "set-cookie" not in through("/oauth2callback", status=400, cookie=f"{COOKIE}=%2Fx")
    assert through("/oauth2callback", "https://id.net/logout", cookie=f"{COOKIE}=%2Fx")["location"] == [
        "https://id.net/logout"
    ]
    assert through("/base/oauth2callback", "/base/", cookie=f"{COOKIE}=%2Fbase%2Fx")["location"] == ["/base/x"]
