"""A user's own device: times layers here, or writes the program that does so elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

import engine.devices.profile_template as template
from engine.devices.profiles import PROFILES, own_folder, own_profiles, parse_profile, shipped_profiles
from engine.errors import SetupError, SpecError
from engine.paths import home

SCRIPT = "profile_device.py"


def keep_profile(record: Any) -> Path:
    """Put a profile that a person wrote, or `paretoscope profile-device` on another machine, into the home; where it lies.

    Raises SetupError for a profile that is none, SpecError for a name that cannot be one or is taken.
    """
    profile = parse_profile(record.get("profile", record) if isinstance(record, dict) else record, "the profile")
    _check_name(profile.name)
    path = own_folder() / f"{profile.name}.json"
    if profile.name in shipped_profiles() or profile.name in own_profiles():
        raise SpecError(f"the name {profile.name!r} is taken by another profile; give it another")
    _write(path, json.dumps(record, indent=1) + "\n")
    return path


def remove_profile(name: str) -> None:
    """Take a profile that was added out of the home again. Raises SpecError for one that is not the user's own."""
    path = own_folder() / f"{name}.json"
    if name not in own_profiles() or not path.is_file():
        raise SpecError(f"{name!r} was not added here; its file, if there is one, is in {own_folder()}")
    path.unlink()


def paper_chip() -> dict[str, Any]:
    """The record of a chip that does not exist, an example to begin from."""
    shipped = yaml.safe_load(PROFILES.read_text(encoding="utf-8"))["profiles"]
    return next(dict(p) for p in shipped if p["name"] == "chip-on-paper")


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise SpecError(f"the name {name!r} cannot be a profile's; use small letters, digits, dots and hyphens")


def profile_here(name: str, output: Path | None, threads: int, seconds: float) -> tuple[Path, dict[str, Any]]:
    """Profile this machine and write the file: into the home's `devices` folder, or to `output`. The path, and the profile.

    Raises SpecError for a name that cannot be one or is taken, SetupError where the file cannot be written.
    """
    name = name or "own-host"
    _check_name(name)
    if output is None:
        home()  # Better told before the minutes of measuring than after.
    taken = own_profiles().keys() if output is None else set()
    path = output or own_folder() / f"{name}.json"
    if name in shipped_profiles() or (name in taken and not path.is_file()):
        raise SpecError(f"the name {name!r} is taken by another profile; give --name another")
    record: dict[str, Any] = template.measure(name, threads, seconds)  # type: ignore[no-untyped-call]
    parse_profile(record["profile"], str(path))
    _write(path, json.dumps(record, indent=1) + "\n")
    return path, record["profile"]


def write_script(output: Path | None) -> Path:
    """The stand-alone program, to be copied to a device. Raises SetupError where it cannot be written."""
    path = output or Path(SCRIPT)
    _write(path, Path(template.__file__).read_text(encoding="utf-8"))
    return path


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{path} cannot be written ({error.strerror}); give -o another path") from None
