"""The picker of devices: a kind by its picture, then the devices of that kind. For one device, or for several."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

import streamlit as st

from engine.devices.profiles import HOST, Profile, all_profiles
from pages.shared import shell

_HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#6F7A8A" stroke-width="1.7">'
_PICTURES = {
    "screen": '<rect x="3" y="4" width="18" height="12" rx="1.5"/><path d="M8 20h8M12 16v4"/>',
    "chip": '<rect x="7" y="7" width="10" height="10" rx="1"/>'
    '<path d="M9.5 7V3M14.5 7V3M9.5 21v-4M14.5 21v-4M7 9.5H3M7 14.5H3M21 9.5h-4M21 14.5h-4"/>',
    "phone": '<rect x="7" y="2" width="10" height="20" rx="2"/><path d="M11 18.5h2"/>',
    "board": '<rect x="2.5" y="5" width="19" height="14" rx="1.5"/><rect x="6" y="8.5" width="6" height="6"/>'
    '<path d="M16 8.5h2.5M16 11.5h2.5M16 14.5h2.5"/>',
    "stick": '<rect x="3" y="8" width="13" height="8" rx="1"/><path d="M16 10h5v4h-5M6.5 12l2-2v4l2-2"/>',
    "card": '<rect x="2" y="6" width="20" height="11" rx="1"/><circle cx="8" cy="11.5" r="2.7"/><circle cx="16" cy="11.5" r="2.7"/>'
    '<path d="M5 17v3M9 17v3M13 17v3"/>',
    "rack": '<rect x="4" y="3" width="16" height="5" rx="1"/><rect x="4" y="9.5" width="16" height="5" rx="1"/>'
    '<rect x="4" y="16" width="16" height="5" rx="1"/><path d="M7 5.5h1M7 12h1M7 18.5h1"/>',
    "paper": '<path d="M6 2.5h8l4 4v15H6zM14 2.5v4h4M9 12h6M9 16h6"/>',
}
KINDS = {
    "host": ("This machine", "screen"),
    "microcontroller": ("Microcontrollers", "chip"),
    "phone": ("Phones", "phone"),
    "application": ("Small computers", "board"),
    "accelerator": ("Accelerators", "stick"),
    "gpu": ("GPUs and TPUs", "card"),
    "server": ("Server CPUs", "rack"),
    "design": ("On paper", "paper"),
}
"""By `Profile.device_class`: what people call it, and its picture. What is of none of them is an other device."""
_OTHER = ("Other devices", "board")


def kinds_of(names: Iterable[str], profiles: Mapping[str, Profile]) -> dict[str, list[str]]:
    """Devices by their kind, in the order of `KINDS`, others last; in a kind as they come."""
    found: dict[str, list[str]] = {}
    for name in names:
        profile = profiles.get(name)
        kind = "host" if name == HOST.name else profile.device_class if profile else ""
        found.setdefault(kind if kind in KINDS else "", []).append(name)
    return {kind: found[kind] for kind in (*KINDS, "") if kind in found}


def _picture(kind: str) -> str:
    """The picture of a kind as Markdown, which a label may have."""
    drawn = base64.b64encode(f"{_HEAD}{_PICTURES[KINDS.get(kind, _OTHER)[1]]}</svg>".encode()).decode()
    return f"![](data:image/svg+xml;base64,{drawn})"


def _kind_label(kind: str, count: int) -> str:
    return f"{_picture(kind)} {KINDS.get(kind, _OTHER)[0]}{f' ({count})' if count > 1 else ''}"


def _name(name: str, profile: Profile | None) -> str:
    """A device by its id and by what is printed on it."""
    if name == HOST.name:
        return "this sweep’s host"
    return shell.plain(name if profile is None else f"{name} · {profile.device.partition(' (')[0]}")


def _pick_kind(key: str, kinds: Mapping[str, Sequence[str]], first: str) -> str:
    kept = f"{key} kind"
    # Streamlit lets the pictures of labels shrink to nothing, and cuts the words instead.
    st.html(f"<style>.st-key-{kept.replace(' ', '-')} img {{ max-width: none; width: 1.3em; height: 1.3em }}</style>")
    if st.session_state.get(kept) not in kinds:
        st.session_state[kept] = first
    chosen = st.pills(
        "Kind of device",
        list(kinds),
        format_func=lambda kind: _kind_label(kind, len(kinds[kind])),
        key=kept,
        required=True,
    )
    return first if chosen is None else chosen


def pick_several(profiles: Mapping[str, Profile], key: str, most: int) -> list[str]:
    """Draw the picker; `st.session_state[key]` is the list of the chosen devices, which is returned. No more than `most`."""
    kinds = kinds_of(profiles, profiles)
    chosen: list[str] = st.session_state[key]
    with st.popover(f"Devices: {len(chosen)} chosen", icon=":material/memory:", key=f"{key} popover"):
        kind = _pick_kind(key, kinds, next((k for k, names in kinds.items() if set(names) & set(chosen)), "host"))
        of_kind = f"{key} of {kind}"
        st.session_state[of_kind] = [name for name in kinds[kind] if name in chosen]

        def merge() -> None:
            picked = [name for name in st.session_state[of_kind] if name not in chosen]
            left = [name for name in chosen if name not in kinds[kind] or name in st.session_state[of_kind]]
            st.session_state[key] = [*left, *picked][:most]

        st.pills(
            "Devices of this kind",
            kinds[kind],
            selection_mode="multi",
            format_func=lambda name: _name(name, profiles[name]),
            key=of_kind,
            on_change=merge,
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            full = f" That is the most: take one away to choose another of {most}." if len(chosen) >= most else ""
            st.caption(f"{len(chosen)} chosen, of every kind.{full}", width="content")
            st.button("Clear", key=f"{key} clear", type="tertiary", on_click=st.session_state.update, args=({key: []},))
    return chosen


def pick_one(names: Sequence[str], key: str, about: str) -> str:
    """Draw the picker of one of the `names`, at what `st.session_state[key]` says, which is returned; `about` is its help."""
    profiles = all_profiles()
    kinds, chosen = kinds_of(names, profiles), str(st.session_state[key])
    own = next(kind for kind, found in kinds.items() if chosen in found)
    # As short as the Devices page says it: beside the other pickers there is little room.
    label = f"Device: {shell.plain(chosen)}"
    with st.popover(label, icon=":material/memory:", help=about, key=f"{key} popover"):
        kind = _pick_kind(key, kinds, own)
        of_kind = f"{key} of {kind}"
        st.session_state[of_kind] = chosen if chosen in kinds[kind] else None

        def take() -> None:
            # The same once more would choose nothing.
            st.session_state[key] = st.session_state[of_kind] or chosen

        st.pills(
            "Devices of this kind",
            kinds[kind],
            format_func=lambda name: _name(name, profiles.get(name)),
            key=of_kind,
            on_change=take,
        )
    return chosen
