"""Profiles: what is written of a (device, runtime) pair in `data/devices.yaml`, and in the user's own files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from engine.devices.fitting import FEATURES
from engine.errors import SetupError, SpecError
from engine.paths import DATA, home_path
from engine.spec.read import load_yaml

PROFILES = DATA / "devices.yaml"
Basis = Literal["measured", "fitted", "datasheet", "design"]
"""measured: this host; fitted: to measured rows; datasheet: a roofline, unvalidated; design: a chip that does not exist."""


@dataclass(frozen=True)
class Profile:
    """What is known of a device with its runtime; what has no source is None or empty.

    `system` names the measured rows that the profile is fitted to. `supports`: bits that the runtime computes in. `storage_bits`:
    fewest bits that it stores a weight in. `peak_gops` and `pj_per_mac` are by bits; a multiply-accumulate is two operations.
    `ram_bytes` holds live activations and, with `weights_in_ram`, the weights. `operators`: ONNX operators that it runs; None where
    nobody wrote them down.
    `costs_ns`: by bits, nanoseconds of one of each of `fitting.FEATURES`, for a device that was timed with `paretoscope profile-device`;
    `log_sd` is the error of its predictions on a natural log scale, `held_out` what was seen of it.
    """

    name: str
    device: str
    runtime: str
    device_class: str
    sources: tuple[str, ...] = ()
    system: str | None = None
    supports: tuple[int, ...] = (8, 16, 32)
    storage_bits: int = 8
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    weights_in_ram: bool = False
    operators: tuple[str, ...] | None = None
    peak_gops: Mapping[int, float] = field(default_factory=dict)
    bandwidth_gbs: float | None = None
    on_chip_bytes: int | None = None
    power_w: float | None = None
    pj_per_mac: Mapping[int, float] = field(default_factory=dict)
    pj_per_byte: float | None = None
    pj_per_byte_on_chip: float = 0.0
    static_w: float = 0.0
    costs_ns: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    log_sd: float | None = None
    held_out: Mapping[str, float] = field(default_factory=dict)

    @property
    def basis(self) -> Basis:
        """What its numbers rest on."""
        if self.name == HOST.name:
            return "measured"
        if self.system or self.costs_ns:
            return "fitted"
        return "design" if self.device_class == "design" else "datasheet"

    def bits_for(self, bits: int) -> int | None:
        """The narrowest precision that the runtime has for so many bits; None where it has none so wide."""
        return _narrowest(self.supports, bits)


# Asked for every layer of every network of a sweep, of which there may be thousands.
@lru_cache(maxsize=256)
def _narrowest(supports: tuple[int, ...], bits: int) -> int | None:
    return min((b for b in supports if b >= bits), default=None)


HOST = Profile("host", "this machine", "onnxruntime", "host")
_KIB = {"flash_kib": "flash_bytes", "ram_kib": "ram_bytes", "on_chip_kib": "on_chip_bytes"}
_NAMES = {f.name for f in fields(Profile)}


def parse_profile(record: Mapping[str, Any], where: str) -> Profile:
    """A profile from YAML or JSON. Raises SetupError, in one line, for an unknown key, a missing one or an impossible value."""
    if not isinstance(record, Mapping):
        raise SetupError(f"{where}: a profile is a mapping of keys to values, not {type(record).__name__}")
    entry = dict(record)
    name = entry.get("name", "?")
    for kib, in_bytes in _KIB.items():
        if kib in entry:
            entry[in_bytes] = round(_number(f"{where}, {name}: {kib}", entry.pop(kib)) * 1024)
    unknown = sorted(set(entry) - _NAMES)
    if unknown:
        raise SetupError(
            f"{where}, {name}: {unknown[0]!r} is not a key of a profile; known: {', '.join(sorted(_NAMES))}"
        )
    for key in ("name", "device", "runtime", "device_class"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise SetupError(f"{where}, {name}: {key} is missing; give it as text")
    for key in ("bandwidth_gbs", "power_w", "pj_per_byte", "log_sd", "flash_bytes", "ram_bytes", "on_chip_bytes"):
        if entry.get(key) is not None:
            _number(f"{where}, {name}: {key}", entry[key])
    for key in ("pj_per_byte_on_chip", "static_w"):
        if entry.get(key):
            _number(f"{where}, {name}: {key}", entry[key])
    for key in ("peak_gops", "pj_per_mac"):
        found = entry.get(key, {})
        if not isinstance(found, Mapping):
            raise SetupError(f"{where}, {name}: {key} maps bits to numbers, as in {{8: 25.6}}")
        entry[key] = {_bits(where, name, b): _number(f"{where}, {name}: {key}[{b}]", v) for b, v in found.items()}
    entry["supports"] = tuple(_bits(where, name, b) for b in entry.get("supports", Profile.supports))
    if not entry["supports"]:
        raise SetupError(
            f"{where}, {name}: supports is empty; list the bits that the device computes in, as in [8, 32]"
        )
    entry["costs_ns"] = {
        _bits(where, name, b): _costs(f"{where}, {name}: costs_ns[{b}]", v)
        for b, v in entry.get("costs_ns", {}).items()
    }
    entry["sources"] = tuple(entry.get("sources", ()))
    if entry.get("operators") is not None:
        entry["operators"] = tuple(entry["operators"])
    return Profile(**entry)


def _cut(value: Any) -> str:
    """A value to quote, however much somebody wrote."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _number(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise SetupError(f"{what} is {_cut(value)}; give a positive number")
    return float(value)


def _bits(where: str, name: str, value: Any) -> int:
    try:
        bits = int(value)
    except (TypeError, ValueError):
        bits = 0
    if not 1 <= bits <= 64:
        raise SetupError(f"{where}, {name}: {_cut(value)} is not a number of bits; give one of 1 to 64")
    return bits


def _costs(what: str, found: Any) -> tuple[float, ...]:
    if not isinstance(found, Mapping) or set(found) != set(FEATURES):
        raise SetupError(f"{what} must give {', '.join(FEATURES)}; run `paretoscope profile-device` again")
    values = tuple(float(found[key]) for key in FEATURES)
    if not all(math.isfinite(v) and v >= 0 for v in values) or not any(values):
        raise SetupError(f"{what} holds a negative or no cost; run `paretoscope profile-device` again")
    return values


@lru_cache(maxsize=4)
def shipped_profiles(path: Path = PROFILES) -> dict[str, Profile]:
    """The profiles of `path` by name, the host first. Raises SetupError for a damaged file."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["profiles"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise SetupError(f"{path} cannot be read ({type(error).__name__}); restore it from a fresh clone") from None
    found = {HOST.name: HOST}
    for entry in entries:
        profile = parse_profile(entry, path.name)
        if profile.name in found:
            raise SetupError(f"{path.name}: two profiles are called {profile.name!r}; rename one")
        found[profile.name] = profile
    return found


def own_folder() -> Path:
    """Where a user's own profiles lie, as JSON or YAML; it may not exist."""
    return home_path() / "devices"


def own_profiles() -> dict[str, Profile]:
    """The user's own profiles by name. Raises SetupError, naming the file, for one that cannot be used."""
    found: dict[str, Profile] = {}
    folder = own_folder()
    paths = sorted(p for p in folder.glob("*") if p.suffix in {".json", ".yaml", ".yml"}) if folder.is_dir() else []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
            # To YAML 1e-05, as programs write it into JSON, is a text.
            record = json.loads(text) if path.suffix == ".json" else load_yaml(text, str(path))
        except SpecError as error:
            raise SetupError(f"{error}; repair or remove the file") from None
        except (OSError, ValueError) as error:
            raise SetupError(f"{path} cannot be read ({type(error).__name__}); repair or remove it") from None
        # What `paretoscope profile-device` writes holds its raw times beside the profile.
        profile = parse_profile(record.get("profile", record) if isinstance(record, dict) else record, str(path))
        if profile.name in found or profile.name in shipped_profiles():
            raise SetupError(f"{path}: the name {profile.name!r} is taken; give the profile another")
        found[profile.name] = profile
    return found


def all_profiles() -> dict[str, Profile]:
    """Shipped profiles, the host first, then the user's own."""
    return shipped_profiles() | own_profiles()


def profile_names() -> tuple[str, ...]:
    """Names to write in a spec and after `--device`."""
    return tuple(all_profiles())


def find_profile(name: str, where: str = "measure.profiles") -> Profile:
    """The profile of that name; SpecError names the known ones."""
    known = all_profiles()
    if name not in known:
        raise SpecError(f"{where}: {name!r} is not a profile; known profiles: {', '.join(known)}")
    return known[name]
