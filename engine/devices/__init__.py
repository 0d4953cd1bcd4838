"""Target devices: profiles, their fit and its error, limits, and the projection of a network onto a device."""

from engine.devices.own import keep_profile, paper_chip, remove_profile
from engine.devices.profiles import (
    HOST,
    Profile,
    all_profiles,
    find_profile,
    own_profiles,
    parse_profile,
    profile_names,
)
from engine.devices.projection import devices_json, project, with_projections
from engine.devices.validation import Check, ErrorLine, all_checks, error_table, new_network_checks, own_checks

__all__ = [
    "HOST",
    "Check",
    "ErrorLine",
    "Profile",
    "all_checks",
    "all_profiles",
    "devices_json",
    "error_table",
    "find_profile",
    "keep_profile",
    "new_network_checks",
    "own_checks",
    "own_profiles",
    "paper_chip",
    "parse_profile",
    "profile_names",
    "project",
    "remove_profile",
    "with_projections",
]
