"""Who is at the other end of this session, and what they may do. What gives roles is in `engine.access`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import streamlit as st

from engine import access
from engine.access import Role, Standing
from engine.errors import AccessError, SetupError

Made = TypeVar("Made")


def _claims() -> Mapping[str, Any]:
    return st.user.to_dict()


def standing() -> Standing:
    """How this session stands to the access file as it is now; SetupError when the file cannot be used."""
    policy = access.load()
    return "editor" if policy is None else access.standing(policy, _claims())


def may(role: Role) -> bool:
    """Whether to show what takes this role. It hides; what does the work calls `require`."""
    try:
        return access.may(standing(), role)
    except SetupError:
        return False


def require(role: Role) -> None:
    """AccessError unless this session has the role: to be called by everything that runs, cancels or deletes."""
    _require(standing(), role)


def _require(found: Standing, role: Role) -> None:
    if access.may(found, role):
        return
    if found in {"anonymous", "expired"}:
        raise AccessError("you are not signed in any more; reload the page to sign in, nothing was done")
    raise AccessError(f"this takes the role {role}; whoever runs this server gives roles, nothing was done")


def later(make: Callable[[], Made], role: Role = "viewer") -> Callable[[], Made]:
    """`make` for a download that is made when it is clicked: outside any session, so who may have it is noted now.

    What they may do is looked up again then: a link kept open gives nothing to whoever has lost the role since.
    """
    claims = None if access.load() is None else _claims()

    def made() -> Made:
        policy = access.load()
        if policy is not None:
            _require(access.standing(policy, claims or {}), role)
        return make()

    return made


def name() -> str | None:
    """What to call whoever is signed in, as plain text; None where there is no login."""
    if access.load() is None:
        return None
    claims = _claims()
    found = (claims.get(key) for key in ("email", "preferred_username", "name", "sub"))
    return next((text for text in found if isinstance(text, str) and text), "somebody without a name")


def identity() -> str | None:
    """Who is signed in, as their provider tells people apart for good (OpenID Connect Core 1.0, section 5.7); None without a login.

    Not the e-mail address, which some providers let people enter, and which may become another's.
    """
    if access.load() is None:
        return None
    claims = _claims()
    issuer, subject = claims.get("iss"), claims.get("sub")
    return f"{issuer} {subject}" if isinstance(subject, str) and subject else None


def providers() -> list[str | None]:
    """The identity providers to choose from, as `st.login` names them."""
    return access.providers(st.secrets.get("auth", {}))


def check_server() -> None:
    """Before the first visit: SetupError where an access file asks for a login that cannot work, a warning where everybody is let in.

    `paretoscope app` has asked the same before; this is for servers that are started in another way.
    """
    address = st.get_option("server.address")
    policy = access.load()
    if policy is None:
        if not access.is_local(address):
            sys.stderr.write(
                f"paretoscope: warning: whoever reaches {address or 'this machine'} may look, run and cancel, because there is no access "
                f"file {access.access_path()}; write one (docs/operations.md shows one), or listen on localhost\n"
            )
            sys.stderr.flush()
        return
    access.check_login(policy, _auth_section(), "Streamlit's secrets.toml")
    # Both let a request say who it comes from, past the login.
    for option in ("server.trustedUserHeaders", "server.enableAgentApi"):
        if st.get_option(option):
            raise SetupError(f"{option} is set, which goes around the login of {policy.path}; unset it")
    if not st.get_option("server.enableXsrfProtection"):
        raise SetupError("server.enableXsrfProtection is off, which a login needs; set it to true")


def _auth_section() -> Any:
    try:
        return st.secrets.get("auth")
    except (FileNotFoundError, st.errors.StreamlitSecretNotFoundError):
        return None


def log_unusable(error: SetupError) -> None:
    """Write what is wrong with the access file to the log; it holds paths and names, which are not for visitors."""
    logging.getLogger("paretoscope").error("nobody is let in: %s", error)
