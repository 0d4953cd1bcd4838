"""A small OpenID provider on this machine, for tests: code flow with PKCE, an RS256 ID token, discovery, and sign-out.

After OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749 (code flow), 7636 (PKCE), 7517/7518 (keys), 7519 (tokens). It checks what
it is sent as a real one does, and answers errors as one does. The standard library is all that it needs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import math
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

EXPONENT = 65537
# DER of the DigestInfo of SHA-256, which precedes the hash in an RS256 signature (RFC 8017, section 9.2, note 1).
SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Key:
    """An RSA key of 2048 bits: modulus and private exponent."""

    n: int
    d: int
    kid: str

    def sign(self, message: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2.1)."""
        tail = SHA256_PREFIX + hashlib.sha256(message).digest()
        padded = b"\x00\x01" + b"\xff" * (256 - len(tail) - 3) + b"\x00" + tail
        return pow(int.from_bytes(padded, "big"), self.d, self.n).to_bytes(256, "big")

    def jwk(self) -> dict[str, str]:
        exponent = EXPONENT.to_bytes(3, "big")
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.kid,
            "n": b64(self.n.to_bytes(256, "big")),
            "e": b64(exponent),
        }


def _probably_prime(number: int, rounds: int = 12) -> bool:
    """Miller and Rabin's test; 12 rounds are far more than a number of 1024 random bits needs."""
    if any(number % p == 0 for p in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(rounds):
        x = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if x in (1, number - 1):
            continue
        if not any((x := x * x % number) == number - 1 for _ in range(twos - 1)):
            return False
    return True


@cache
def make_key(kid: str) -> Key:
    """A key that lives as long as the test run."""

    def prime() -> int:
        while True:
            found = secrets.randbits(1024) | 3 << 1022 | 1
            if math.gcd(found - 1, EXPONENT) == 1 and _probably_prime(found):
                return found

    p, q = prime(), prime()
    return Key(p * q, pow(EXPONENT, -1, math.lcm(p - 1, q - 1)), kid)


@dataclass
class Provider:
    """The provider's state. `people` are the accounts to choose from, with their claims."""

    url: str
    redirect_uri: str
    people: dict[str, dict[str, Any]]
    client_id: str = "paretoscope"
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    forge: bool = False
    """Sign the next tokens with a key that nobody knows."""
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "end_session_endpoint": f"{self.url}/end-session",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "email", "profile"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
        }

    def refuse_request(self, asked: dict[str, str]) -> str | None:
        """What is wrong with an authorization request, None when it is right."""
        wanted = {"client_id": self.client_id, "redirect_uri": self.redirect_uri, "response_type": "code"}
        wrong = [k for k, v in wanted.items() if asked.get(k) != v]
        wrong += [k for k in ("state", "nonce", "code_challenge") if not asked.get(k)]
        if "openid" not in asked.get("scope", "").split():
            wrong.append("scope")
        if asked.get("code_challenge_method") != "S256":
            wrong.append("code_challenge_method")
        return ", ".join(wrong) or None

    def grant(self, asked: dict[str, str], person: str) -> str:
        """The address to come back to, with a code in it."""
        code = secrets.token_urlsafe(24)
        self.codes[code] = {**asked, "person": person}
        return f"{self.redirect_uri}?{urlencode({'code': code, 'state': asked['state']})}"

    def exchange(self, sent: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """The tokens for a code, which is good once; None when anything does not fit."""
        basic = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        if not hmac.compare_digest(authorization, f"Basic {basic}"):
            return None
        asked = self.codes.pop(sent.get("code", ""), None)
        challenge = b64(hashlib.sha256(sent.get("code_verifier", "").encode()).digest())
        fits = (
            asked is not None and asked["code_challenge"] == challenge and sent.get("redirect_uri") == self.redirect_uri
        )
        if asked is None or not fits or sent.get("grant_type") != "authorization_code":
            return None
        token = self.id_token(asked["person"], asked["nonce"])
        return {"access_token": secrets.token_urlsafe(24), "token_type": "Bearer", "expires_in": 300, "id_token": token}

    def id_token(self, person: str, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": self.client_id, "sub": person, "iat": now, "exp": now + 300, "nonce": nonce}
        head = {"alg": "RS256", "typ": "JWT", "kid": "of this run"}
        body = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims | self.people[person]).encode())}"
        key = make_key("of nobody" if self.forge else "of this run")
        return f"{body}.{b64(key.sign(body.encode()))}"


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def log_message(self, format: str, *args: object) -> None:
        self.provider.asked.append(format % args)

    def answer(self, status: int, body: str = "", kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Cache-Control": "no-store", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        found = urlsplit(self.path)
        asked = {k: v[0] for k, v in parse_qs(found.query).items()}
        provider = self.provider
        if found.path == "/.well-known/openid-configuration":
            self.answer(200, json.dumps(provider.discovery()))
        elif found.path == "/jwks":
            self.answer(200, json.dumps({"keys": [make_key("of this run").jwk()]}))
        elif found.path in {"/authorize", "/choose"}:
            wrong = provider.refuse_request(asked)
            person = asked.pop("person", None)
            if wrong:
                self.answer(400, json.dumps({"error": "invalid_request", "error_description": wrong}))
            elif person in provider.people:
                self.answer(302, Location=provider.grant(asked, person))
            else:
                links = [
                    f'<p><a href="/choose?{html.escape(urlencode({**asked, "person": p}))}">{html.escape(p)}</a></p>'
                    for p in provider.people
                ]
                self.answer(200, f"<h1>Choose an account</h1>{''.join(links)}", "text/html")
        elif found.path == "/end-session" and asked.get("post_logout_redirect_uri") == provider.redirect_uri:
            self.answer(302, Location=provider.redirect_uri)
        else:
            self.answer(404, json.dumps({"error": "not_found"}))

    def do_POST(self) -> None:
        sent = {k: v[0] for k, v in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
        tokens = self.provider.exchange(sent, self.headers.get("Authorization", ""))
        if urlsplit(self.path).path != "/token" or tokens is None:
            self.answer(400, json.dumps({"error": "invalid_grant"}))
        else:
            self.answer(200, json.dumps(tokens))


@contextmanager
def provider_of(people: dict[str, dict[str, Any]], redirect_uri: str) -> Iterator[Provider]:
    """Run a provider until the block ends."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    provider = Provider(f"http://127.0.0.1:{server.server_port}", redirect_uri, people)
    handler.provider = provider
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
