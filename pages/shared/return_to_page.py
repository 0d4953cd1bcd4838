"""After the login back to the page that was asked for: Streamlit itself sends everybody to the front page.

A piece of the web server around Streamlit's own: it notes the page on the way out to the identity provider, in a cookie that only
the server reads, and exchanges the address on the way back.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "paretoscope_return"
# Signing in with a second factor takes minutes; a link that old is nobody's intention any more.
SECONDS = 900
LONGEST = 2_000
_OUT, _BACK = "/auth/login", "/oauth2callback"


def page_of(referer: str | None, host: str | None) -> str | None:
    """Path and query of a page of this very server, None for anything else: what is followed later must not lead away."""
    if not referer or not host:
        return None
    try:
        found = urlsplit(referer)
    except ValueError:
        return None
    local = found.path + (f"?{found.query}" if found.query else "")
    return local if found.scheme in {"http", "https"} and found.netloc == host and is_local_path(local) else None


def is_local_path(path: str) -> bool:
    """Whether a redirect to it stays on this server: browsers take `//host` and `/\\host` for another one."""
    return (
        path.startswith("/")
        and path[1:2] not in {"/", "\\"}
        and len(path) <= LONGEST
        and path.isascii()
        and path.isprintable()
        and " " not in path
    )


class ReturnToPage:
    """Wraps the server (an ASGI middleware). A login or a callback that fails leads back as well, to the page's own sign-in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.endswith((_OUT, _BACK)):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        front = path.removesuffix(_OUT if path.endswith(_OUT) else _BACK) + "/"
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        attributes = f"Path={front}; HttpOnly; SameSite=Lax{secure}"

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and 300 <= message["status"] < 400:
                answer = MutableHeaders(scope=message)
                if path.endswith(_OUT):
                    wanted = page_of(headers.get("referer"), headers.get("host"))
                    # Always written: an older one would otherwise be followed.
                    value, age = (quote(wanted, safe=""), SECONDS) if wanted else ("", 0)
                    answer.append("set-cookie", f"{COOKIE}={value}; Max-Age={age}; {attributes}")
                elif answer.get("location") == front:
                    wanted = unquote(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))
                    if wanted and is_local_path(wanted):
                        answer["location"] = wanted
                    answer.append("set-cookie", f"{COOKIE}=; Max-Age=0; {attributes}")
            await send(message)

        await self.app(scope, receive, sending)
