"""Who may do what: the access file, the roles that it gives to signed-in people, and what a server for a team needs to start.

Without an access file there is no login: whoever reaches the server may do everything, and it listens on this machine alone.
With one (`access.toml` in the home folder) everybody signs in through OpenID Connect, and who is not named gets nothing.

    session_hours = 12                  # then sign in again, so that groups changed at the provider take effect; 12 is the default
    accept_unverified_email = false     # true only where the provider checks addresses itself but does not say so

    [viewer]                            # looks and exports
    domains = ["example.org"]

    [editor]                            # also runs, cancels and deletes
    emails = ["ana@example.org"]
    claims = {groups = ["ml-team"]}     # a claim of the ID token that is, or holds, one of these values

One match is enough, and the highest role counts.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from engine.errors import SetupError
from engine.paths import home_path

Role = Literal["viewer", "editor"]
ROLES: tuple[Role, ...] = ("viewer", "editor")
"""Each may do what those before it may."""

SESSION_HOURS = 12.0
"""How long a sign-in lasts by default: a working day."""
# The clock of the provider may be ahead of ours; authlib accepts as much in an ID token.
CLOCK_SKEW_S = 120
COOKIE_SECRET_BYTES = 32
"""The least length of the secret that signs session cookies: HMAC keys shorter than the hash are weaker than it (RFC 2104)."""

_EXAMPLE = '`[editor]` with `emails = ["you@example.org"]` under it'
_SHARED_KEYS = ("redirect_uri", "cookie_secret")
_PROVIDER_KEYS = ("client_id", "client_secret", "server_metadata_url")


@dataclass(frozen=True)
class Rule:
    """Whom a role is given to; emails and domains in lower case, claims by name with the values that count."""

    emails: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    claims: tuple[tuple[str, frozenset[str]], ...] = ()


@dataclass(frozen=True)
class Policy:
    """An access file as read. `session_hours` is the age of a sign-in, in hours, from which it no longer counts."""

    path: Path
    rules: Mapping[Role, Rule]
    session_hours: float = SESSION_HOURS
    accept_unverified_email: bool = False


Standing = Literal["anonymous", "expired", "unknown", "viewer", "editor"]
"""How somebody stands to a policy: not signed in, signed in too long ago, signed in but not named, or with a role."""


def access_path() -> Path:
    """Where the access file is looked for, whether it exists or not."""
    return home_path() / "access.toml"


def secrets_path() -> Path:
    """Where `paretoscope app` reads the provider's credentials, `[auth]`, when there is an access file."""
    return home_path() / "secrets.toml"


# The last policy read from each path, with what the file looked like then. A path stays here for good: see `load`.
_read: dict[Path, tuple[tuple[int, ...], Policy | None]] = {}


def load() -> Policy | None:
    """The policy in force, None where there is no access file; SetupError for a file that is unreadable or wrong.

    The file is looked at on every call and read again when it has changed. One that was there and is gone is an error and not an
    open door: a server that began with a login does not lose it because a file is moved.
    """
    path = access_path()
    try:
        found = path.stat()
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
    except (FileNotFoundError, NotADirectoryError):
        if path in _read:
            raise SetupError(
                f"the access file {path} is gone; put it back, or restart the server to run it without a login"
            ) from None
        return None
    except OSError as error:
        raise SetupError(
            f"the access file {path} cannot be read ({error.strerror}); let the server's user read it"
        ) from None
    # Noted before it is read: a file with a mistake must not be forgotten either.
    before = _read.setdefault(path, ((), None))
    if before[0] == stamp and before[1] is not None:
        return before[1]
    policy = read_policy(path)
    _read[path] = (stamp, policy)
    return policy


def read_policy(path: Path) -> Policy:
    """Read an access file; SetupError says in one line what is wrong with it, where, and what to write."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(
            f"the access file {path} cannot be read ({error.strerror}); let the server's user read it"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"the access file {path} is not TOML: {error}; correct that line") from None
    known = {*ROLES, "session_hours", "accept_unverified_email"}
    for key in content:
        if key not in known:
            raise SetupError(f"the access file {path} has an unknown key {key!r}; known: {', '.join(sorted(known))}")
    hours = content.get("session_hours", SESSION_HOURS)
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= 24 * 30:
        raise SetupError(
            f"the access file {path}: session_hours is {hours!r}; give a number of hours above 0 and up to 720"
        )
    unverified = content.get("accept_unverified_email", False)
    if not isinstance(unverified, bool):
        raise SetupError(f"the access file {path}: accept_unverified_email is {unverified!r}; give true or false")
    rules = {role: _rule(path, role, content[role]) for role in ROLES if role in content}
    if not any(rule != Rule() for rule in rules.values()):
        raise SetupError(f"the access file {path} gives nobody a role; write {_EXAMPLE}")
    return Policy(path, rules, float(hours), unverified)


def _rule(path: Path, role: Role, content: Any) -> Rule:
    where = f"the access file {path}: [{role}]"
    if not isinstance(content, dict):
        raise SetupError(f"{where} is {content!r} and not a section; write {_EXAMPLE}")
    for key in content:
        if key not in {"emails", "domains", "claims"}:
            raise SetupError(f"{where} has an unknown key {key!r}; known: claims, domains, emails")
    emails = _texts(f"{where} emails", content.get("emails", []))
    domains = _texts(f"{where} domains", content.get("domains", []))
    claims = content.get("claims", {})
    if not isinstance(claims, dict):
        raise SetupError(f'{where} claims is {claims!r}; write claims = {{groups = ["ml-team"]}}')
    for email in emails:
        if _domain(email) is None:
            raise SetupError(
                f"{where} emails: {email!r} is not an address; write name@example.org, or use domains or claims"
            )
    for domain in domains:
        if any(c in domain for c in "@*/ ") or "." not in domain.strip("."):
            raise SetupError(
                f"{where} domains: {domain!r} is not a domain; write example.org, each subdomain on its own"
            )
    return Rule(
        frozenset(e.lower() for e in emails),
        frozenset(d.lower() for d in domains),
        tuple((name, frozenset(_texts(f"{where} claims.{name}", values))) for name, values in claims.items()),
    )


def _texts(where: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
        raise SetupError(f'{where} is {values!r}; give a list of texts, ["…", "…"]')
    return [v.strip() for v in values]


def _domain(email: str) -> str | None:
    """The domain of an address in lower case; None for what is no address of one name and one domain."""
    name, at, domain = email.strip().partition("@")
    return domain.lower() if name and at and "." in domain and "@" not in domain and " " not in email.strip() else None


def standing(policy: Policy, claims: Mapping[str, Any], now_s: float | None = None) -> Standing:
    """How somebody with these claims stands to the policy; `now_s` in seconds since 1970, default: the clock.

    `claims` are those of the ID token (OpenID Connect Core 1.0, section 2) and Streamlit's `is_logged_in`. Everything that is missing
    or of another type than expected counts as absent, so the answer to anything odd is the lower one.
    """
    if claims.get("is_logged_in") is not True:
        return "anonymous"
    age_s = _age_s(claims, time.time() if now_s is None else now_s)
    if age_s is None or not -CLOCK_SKEW_S <= age_s <= policy.session_hours * 3600:
        return "expired"
    for role in reversed(ROLES):
        if role in policy.rules and _matches(policy.rules[role], claims, policy.accept_unverified_email):
            return role
    return "unknown"


def _age_s(claims: Mapping[str, Any], now_s: float) -> float | None:
    issued = claims.get("iat")
    return None if isinstance(issued, bool) or not isinstance(issued, int | float) else now_s - issued


def _matches(rule: Rule, claims: Mapping[str, Any], accept_unverified_email: bool) -> bool:
    email = claims.get("email")
    # Some providers let people enter any address; only one that the provider has verified says who somebody is.
    if isinstance(email, str) and (claims.get("email_verified") is True or accept_unverified_email):
        domain = _domain(email)
        if domain is not None and (email.strip().lower() in rule.emails or domain in rule.domains):
            return True
    return any(values & _values(claims, name) for name, values in rule.claims)


def _values(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """The texts of a claim; a name that is none may be a path into nested claims (Keycloak's `realm_access.roles`)."""
    found: Any = claims.get(name)
    if name not in claims and "." in name:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    values = found if isinstance(found, list | tuple) else [found]
    return frozenset(v for v in values if isinstance(v, str))


def may(role: Standing, needed: Role) -> bool:
    """Whether somebody with this standing has at least the role that is needed."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(needed)


def providers(auth: Mapping[str, Any]) -> list[str | None]:
    """The identity providers of an `[auth]` section, as `st.login` names them; None is the one without a name."""
    named = [name for name, value in auth.items() if isinstance(value, Mapping) and "client_id" in value]
    return [*([None] if "client_id" in auth else []), *named]


def check_login(policy: Policy, auth: Any, where: str) -> None:
    """SetupError unless people can sign in: `auth` is the `[auth]` section of `where`, None when there is none."""
    because = f"the access file {policy.path} asks for a login"
    missing = [name for name in ("authlib", "httpx") if find_spec(name) is None]
    if missing:
        raise SetupError(
            f"{because}, which needs {' and '.join(missing)}; install with: python -m pip install authlib httpx"
        )
    if not isinstance(auth, Mapping) or not auth:
        raise SetupError(
            f"{because}, but {where} has no [auth] section; write one with {', '.join((*_SHARED_KEYS, *_PROVIDER_KEYS))}"
        )
    absent = [key for key in _SHARED_KEYS if not isinstance(auth.get(key), str)]
    found = providers(auth)
    if not found:
        absent += [key for key in _PROVIDER_KEYS if key not in auth]
    for name in found:
        section = auth if name is None else auth[name]
        absent += [f"{name}.{k}" if name else k for k in _PROVIDER_KEYS if not isinstance(section.get(k), str)]
    if absent:
        raise SetupError(
            f"{because}, but [auth] in {where} lacks {', '.join(absent)}; write them as your identity provider gives them"
        )
    if len(auth["cookie_secret"].encode()) < COOKIE_SECRET_BYTES:
        raise SetupError(
            f"cookie_secret in {where} is shorter than {COOKIE_SECRET_BYTES} bytes, so sessions could be forged; make one with: "
            'python -c "import secrets; print(secrets.token_hex(32))"'
        )
    public = urlsplit(auth["redirect_uri"])
    if public.scheme not in {"http", "https"} or not public.hostname or not public.path.endswith("/oauth2callback"):
        raise SetupError(
            f"redirect_uri in {where} is {auth['redirect_uri']!r}; write the dashboard's public address with /oauth2callback at its end"
        )
    if public.scheme == "http" and not is_local(public.hostname):
        raise SetupError(f"redirect_uri in {where} is {auth['redirect_uri']!r}; a login over a network needs https")


def is_local(address: str | None) -> bool:
    """Whether a server that listens on this address, or is reached by this name, is reached from this machine alone."""
    if not address:
        return False
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address.lower().rstrip(".") == "localhost"


def read_auth() -> Any:
    """The `[auth]` section of the secrets file in the home folder, None where there is none; SetupError when it is no TOML."""
    path = secrets_path()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")).get("auth")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupError(f"{path} cannot be read ({error.strerror}); let the server's user read it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # Without the reason that the parser gives, which would quote a secret.
        raise SetupError(f"{path} is not TOML; correct it, docs/operations.md shows one") from None


def server_options(address: str, hosts: tuple[str, ...] = ()) -> list[str]:
    """Streamlit's options for a server on this address; SetupError when an access file asks for a login that cannot work.

    `hosts` are further names that browsers reach it by. The public name in `redirect_uri` is added by itself, and so is the address,
    unless it stands for all of them (0.0.0.0 and ::).
    """
    options = ["--server.address", address]
    names = ["localhost", "127.0.0.1", *hosts]
    try:
        every_address = ip_address(address).is_unspecified
    except ValueError:
        every_address = False
    if not every_address:
        names.append(address)
    policy = load()
    if policy is not None:
        auth = read_auth()
        check_login(policy, auth, str(secrets_path()))
        public = str(urlsplit(auth["redirect_uri"]).hostname)
        names.append(public)
        # With its public name known, Streamlit has no reason to ask the internet for the address of this machine.
        options += ["--secrets.files", str(secrets_path()), "--browser.serverAddress", public]
    return options + [part for name in dict.fromkeys(names) for part in ("--server.allowedHosts", name)]
