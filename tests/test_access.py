"""The access file: what it may say, whom it lets in, and what a server with a login needs before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import access
from engine.access import (
    Policy,
    Rule,
    check_login,
    is_local,
    load,
    may,
    providers,
    read_policy,
    server_options,
    standing,
)
from engine.errors import SetupError
from tests.helpers.places import ROOT

NOW = 1_800_000_000.0
TEAM = """
session_hours = 8

[viewer]
domains = ["Example.org"]

[editor]
emails = ["Ana@example.org"]
claims = {groups = ["ml-team", "admins"], "realm_access.roles" = ["editor"]}
"""
AUTH = {
    "redirect_uri": "https://pareto.example.org/oauth2callback",
    "cookie_secret": "x" * 32,
    "client_id": "paretoscope",
    "client_secret": "hush",
    "server_metadata_url": "https://id.example.org/.well-known/openid-configuration",
}


def policy(tmp_path: Path, text: str = TEAM) -> Policy:
    path = tmp_path / "access.toml"
    path.write_text(text)
    return read_policy(path)


def person(email: str | None = None, verified: object = True, **more: object) -> dict[str, Any]:
    claims: dict[str, Any] = {"is_logged_in": True, "iat": NOW - 60, "sub": "1"}
    if email is not None:
        claims |= {"email": email, "email_verified": verified}
    return claims | more


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        (person("bob@example.org"), "viewer"),
        (person("BOB@EXAMPLE.ORG"), "viewer"),
        (person("ana@example.org"), "editor"),
        (person("zoe@elsewhere.net", groups=["guests", "ml-team"]), "editor"),
        (person(groups="admins"), "editor"),
        (person(realm_access={"roles": ["editor"]}), "editor"),
        (person("bob@elsewhere.net"), "unknown"),
        (person("bob@sub.example.org"), "unknown"),
        (person("bob@example.org.evil.net"), "unknown"),
        (person("bob@evil.net@example.org"), "unknown"),
        (person("evil.net bob@example.org"), "unknown"),
        (person("@example.org"), "unknown"),
        (person("example.org"), "unknown"),
        (person(["ana@example.org"]), "unknown"),
        (person(groups=["ML-TEAM"]), "unknown"),
        (person(groups={"ml-team": True}), "unknown"),
        (person(groups=[["ml-team"]]), "unknown"),
        (person(realm_access="editor"), "unknown"),
        (person(), "unknown"),
    ],
)
def test_roles_come_from_verified_emails_domains_and_claims(tmp_path: Path, claims: dict[str, Any], expected: str):
    assert standing(policy(tmp_path), claims, NOW) == expected


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_that_the_provider_has_not_verified_says_nothing(tmp_path: Path, verified: object):
    claims = person("ana@example.org", verified)
    assert standing(policy(tmp_path), claims, NOW) == "unknown"
    assert standing(policy(tmp_path, f"accept_unverified_email = true\n{TEAM}"), claims, NOW) == "editor"


@pytest.mark.parametrize("flag", [False, None, "true", 1])
def test_whoever_is_not_signed_in_is_anonymous_whatever_else_is_said(tmp_path: Path, flag: object):
    assert standing(policy(tmp_path), person("ana@example.org", is_logged_in=flag), NOW) == "anonymous"
    assert standing(policy(tmp_path), {}, NOW) == "anonymous"


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [(0, "editor"), (8 * 3600, "editor"), (8 * 3600 + 1, "expired"), (-60, "editor"), (-3600, "expired")],
)
def test_a_sign_in_counts_for_so_many_hours(tmp_path: Path, age_s: float, expected: str):
    assert standing(policy(tmp_path), person("ana@example.org", iat=NOW - age_s), NOW) == expected


@pytest.mark.parametrize("iat", [None, "1800000000", True, float("nan")])
def test_a_sign_in_of_unknown_age_has_run_out(tmp_path: Path, iat: object):
    assert standing(policy(tmp_path), person("ana@example.org", iat=iat), NOW) == "expired"


@given(
    claims=st.dictionaries(
        st.sampled_from(["is_logged_in", "iat", "email", "email_verified", "groups", "realm_access"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
            max_leaves=4,
        ),
    )
)
def test_odd_claims_never_give_a_role_and_never_break(claims: dict[str, Any]):
    rules = {
        "viewer": Rule(domains=frozenset({"example.org"})),
        "editor": Rule(claims=(("groups", frozenset({"ml-team"})),)),
    }
    assert standing(Policy(Path("access.toml"), rules), claims, NOW) in {"anonymous", "expired", "unknown"}


def test_editors_may_what_viewers_may_and_nobody_else_may_anything():
    assert [
        (s, n) for s in ("anonymous", "expired", "unknown", "viewer", "editor") for n in access.ROLES if may(s, n)
    ] == [
        ("viewer", "viewer"),
        ("editor", "viewer"),
        ("editor", "editor"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[editor\n", ("is not TOML", "line 1", "correct that line")),
        ("", ("gives nobody a role", "emails")),
        ("[editor]\nemails = []", ("gives nobody a role",)),
        ("[admin]\nemails = ['a@b.org']", ("'admin'", "known:", "editor, session_hours, viewer")),
        ("[editor]\nemail = ['a@b.org']", ("[editor]", "'email'", "known: claims, domains, emails")),
        ("editor = ['a@b.org']", ("[editor]", "not a section")),
        ("[editor]\nemails = 'a@b.org'", ("[editor] emails", "list of texts")),
        ("[editor]\nemails = [1]", ("[editor] emails", "list of texts")),
        ("[editor]\nemails = ['ana']", ("'ana' is not an address", "name@example.org")),
        ("[viewer]\ndomains = ['*.b.org']", ("'*.b.org' is not a domain",)),
        ("[viewer]\ndomains = ['@b.org']", ("'@b.org' is not a domain",)),
        ("[viewer]\ndomains = ['org']", ("'org' is not a domain",)),
        ("[viewer]\nclaims = ['x']", ("claims is", "groups")),
        ("[viewer]\nclaims = {groups = 'x'}", ("claims.groups", "list of texts")),
        ("session_hours = 0\n[viewer]\ndomains = ['b.org']", ("session_hours is 0", "above 0")),
        ("session_hours = true\n[viewer]\ndomains = ['b.org']", ("session_hours is True",)),
        (
            "accept_unverified_email = 1\n[viewer]\ndomains = ['b.org']",
            ("accept_unverified_email is 1", "true or false"),
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_the_remedy(tmp_path: Path, text: str, said: tuple[str, ...]):
    with pytest.raises(SetupError) as error:
        policy(tmp_path, text)
    message = str(error.value)
    assert str(tmp_path / "access.toml") in message
    assert "\n" not in message
    for words in said:
        assert words in message


def test_without_a_file_there_is_no_policy_and_with_one_it_is_read_again_when_it_changes(home: Path):
    assert load() is None
    path = home / "access.toml"
    path.write_text(TEAM)
    assert load().session_hours == 8
    assert load() is load()
    path.write_text(TEAM.replace("8", "4"))
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 1_000_000_000))
    assert load().session_hours == 4


@pytest.mark.parametrize("text", [TEAM, "[editor\n"])
def test_a_file_that_was_there_and_is_gone_opens_no_door(home: Path, text: str):
    path = home / "access.toml"
    path.write_text(text)
    if text == TEAM:
        assert load() is not None
    else:
        with pytest.raises(SetupError, match="not TOML"):
            load()
    path.unlink()
    for _ in range(2):
        with pytest.raises(SetupError, match="is gone; put it back"):
            load()


def test_a_mistake_stays_one_until_it_is_corrected(home: Path):
    path = home / "access.toml"
    path.write_text("[editor\n")
    for _ in range(2):
        with pytest.raises(SetupError, match="not TOML"):
            load()
    path.write_text(TEAM)
    assert load().session_hours == 8


@pytest.fixture
def login_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if authlib and httpx were installed: here it is about what is asked for beside them."""
    monkeypatch.setattr(access, "find_spec", lambda name: object())


@pytest.mark.usefixtures("login_packages")
@pytest.mark.parametrize(
    ("auth", "said"),
    [
        (None, ("has no [auth] section", "redirect_uri", "server_metadata_url")),
        ({}, ("has no [auth] section",)),
        ("text", ("has no [auth] section",)),
        ({k: v for k, v in AUTH.items() if k != "cookie_secret"}, ("lacks cookie_secret",)),
        (
            {k: v for k, v in AUTH.items() if k not in {"client_id", "client_secret"}},
            ("lacks client_id, client_secret",),
        ),
        ({k: v for k, v in AUTH.items() if k != "server_metadata_url"}, ("lacks server_metadata_url",)),
        (AUTH | {"okta": {"client_id": "x"}}, ("lacks okta.client_secret, okta.server_metadata_url",)),
        (AUTH | {"cookie_secret": "short"}, ("shorter than 32 bytes", "token_hex(32)")),
        (AUTH | {"redirect_uri": "https://pareto.example.org/"}, ("with /oauth2callback",)),
        (AUTH | {"redirect_uri": "pareto.example.org/oauth2callback"}, ("public address",)),
        (AUTH | {"redirect_uri": "http://pareto.example.org/oauth2callback"}, ("needs https",)),
    ],
)
def test_a_login_that_cannot_work_is_refused_with_what_is_missing(tmp_path: Path, auth: Any, said: tuple[str, ...]):
    with pytest.raises(SetupError) as error:
        check_login(policy(tmp_path), auth, "secrets.toml")
    for words in said:
        assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("login_packages")
def test_a_login_that_is_complete_is_let_through(tmp_path: Path):
    check_login(policy(tmp_path), AUTH, "secrets.toml")
    check_login(policy(tmp_path), AUTH | {"redirect_uri": "http://localhost:8501/oauth2callback"}, "secrets.toml")
    named = {k: AUTH[k] for k in ("redirect_uri", "cookie_secret")} | {"okta": AUTH, "google": AUTH}
    check_login(policy(tmp_path), named, "secrets.toml")
    assert providers(named) == ["okta", "google"]
    assert providers(AUTH) == [None]


def test_a_login_without_its_packages_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access, "find_spec", lambda name: None if name == "authlib" else object())
    with pytest.raises(SetupError, match=r"needs authlib; install with: python -m pip install authlib httpx"):
        check_login(policy(tmp_path), AUTH, "secrets.toml")


@pytest.mark.parametrize(
    ("address", "local"),
    [("localhost", True), ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("0.0.0.0", False), ("", False), (None, False),
     ("192.168.1.5", False), ("localhost.evil.net", False)],
)  # fmt: skip
def test_an_address_is_local_only_when_nobody_else_reaches_it(address: str | None, local: bool):
    assert is_local(address) is local


def names(options: list[str]) -> list[str]:
    return [value for key, value in zip(options[::2], options[1::2], strict=True) if key == "--server.allowedHosts"]


def test_the_server_answers_to_the_names_that_it_is_reached_by(home: Path):
    assert server_options("localhost")[:2] == ["--server.address", "localhost"]
    assert names(server_options("localhost")) == ["localhost", "127.0.0.1"]
    assert names(server_options("192.168.1.5", ("box.lan",))) == ["localhost", "127.0.0.1", "box.lan", "192.168.1.5"]
    assert names(server_options("0.0.0.0")) == ["localhost", "127.0.0.1"]


@pytest.mark.usefixtures("login_packages")
def test_a_team_server_answers_to_its_public_name_and_reads_the_secrets_beside_the_access_file(home: Path):
    (home / "access.toml").write_text(TEAM)
    with pytest.raises(SetupError, match=r"has no \[auth\] section"):
        server_options("0.0.0.0")
    (home / "secrets.toml").write_text("[auth]\n" + "\n".join(f'{k} = "{v}"' for k, v in AUTH.items()))
    options = server_options("0.0.0.0")
    assert names(options) == ["localhost", "127.0.0.1", "pareto.example.org"]
    assert options[options.index("--secrets.files") + 1] == str(home / "secrets.toml")
    assert options[options.index("--browser.serverAddress") + 1] == "pareto.example.org"


@pytest.mark.usefixtures("login_packages")
def test_a_damaged_secrets_file_is_named_without_what_is_in_it(home: Path):
    (home / "access.toml").write_text(TEAM)
    (home / "secrets.toml").write_text('[auth]\ncookie_secret = "hush-hush')
    with pytest.raises(SetupError) as error:
        server_options("0.0.0.0")
    assert str(home / "secrets.toml") in str(error.value)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "engine.cli", "app", "--headless", "--port", "1"),
        ("-m", "streamlit", "run", "app.py", "--server.headless", "true"),
    ],
    ids=["paretoscope app", "streamlit run"],
)
def test_a_server_whose_login_cannot_work_does_not_start(home: Path, command: tuple[str, ...]):
    (home / "access.toml").write_text("[editor\n")
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 2
    (line,) = [x for x in done.stderr.splitlines() if "access.toml" in x]
    assert line.startswith("paretoscope: the access file")
    assert "Traceback" not in done.stdout + done.stderr
