"""Profiles of the user's own: a file that a device wrote, or a chip on paper, field by field."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from engine.devices.profiles import own_profiles
from engine.devices.user_profiles import keep_profile, paper_chip, remove_profile
from engine.errors import InputError
from engine.spec.read import load_plain_yaml
from pages.shared import access, shell

_NUMBERS = {
    "ram_kib": ("RAM (KiB)", "Live activations must fit it, and the weights too if they are kept there."),
    "flash_kib": ("Flash (KiB)", "Weights must fit it. Empty: nobody says."),
    "on_chip_kib": ("On-chip memory (KiB)", "What fits here is moved at the on-chip price, at no time."),
    "bandwidth_gbs": ("Bandwidth (GB/s)", "Of the memory off the chip."),
    "pj_per_byte": ("Energy per byte off chip (pJ)", "Moved from or to the memory off the chip."),
    "pj_per_byte_on_chip": ("Energy per byte on chip (pJ)", "Moved from or to the memory on the chip."),
    "static_w": ("Static power (W)", "Drawn all the time, whether it computes or not."),
}


def show() -> None:
    """Draw the tab: what there is of one's own, a file to take in, a chip to describe."""
    st.markdown(
        "Time a device of yours with one file that needs onnxruntime and numpy only: `paretoscope profile-device --script` writes "
        "it, `python profile_device.py --name NAME -o NAME.json` runs it there. Or describe a chip that does not exist yet; what is "
        "said of it is then labelled a projection."
    )
    if not access.may("editor"):
        st.caption("Adding a profile takes the role editor.")
        return
    _own()
    from_file, on_paper = st.columns([2, 3], gap="large")
    with from_file:
        st.markdown("**A profile file**")
        _upload()
    with on_paper:
        st.markdown("**A chip on paper**")
        _design()


def _own() -> None:
    """The profiles that were added, each with a way to remove it."""
    for name, profile in own_profiles().items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"`{name}`: {profile.basis}", width="stretch")
            if st.button("Remove", icon=":material/delete:", key=f"remove profile {name}"):
                access.require("editor")
                remove_profile(name)
                st.rerun()


def _upload() -> None:
    uploaded = st.file_uploader(
        "JSON or YAML", type=["json", "yaml"], key="devices upload", max_upload_size=1, help="One megabyte at most."
    )
    if uploaded is not None and st.button("Check and keep the file", icon=":material/save:"):
        text = uploaded.getvalue().decode("utf-8", errors="replace")
        _keep(load_plain_yaml(text, "the file"))


def _design() -> None:
    """The fields of a chip, to begin with those of the example; nothing is kept before the button is pressed."""
    chip = paper_chip()
    record: dict[str, Any] = {"device_class": "design", "runtime": chip["runtime"]}
    with st.form("chip on paper", border=True):
        left, right = st.columns(2)
        record["name"] = left.text_input("Name", "my-chip", help="Small letters, digits, dots and hyphens.")
        record["device"] = right.text_input("What it is", chip["device"], max_chars=200)
        st.caption(
            "What it computes, by bits: billions of operations a second at most, and energy of a multiply-accumulate."
        )
        bits = pd.DataFrame(
            {"gops": chip["peak_gops"], "pj": chip["pj_per_mac"]}, index=pd.Index(chip["supports"], name="bits")
        ).reset_index()
        edited = st.data_editor(
            bits,
            num_rows="dynamic",
            hide_index=True,
            key="chip bits",
            column_config={
                "bits": st.column_config.NumberColumn("Bits", min_value=1, max_value=64, step=1, required=True),
                "gops": st.column_config.NumberColumn("Peak (billion operations/s)", min_value=0.0, required=True),
                "pj": st.column_config.NumberColumn("Energy per MAC (pJ)", min_value=0.0, required=True),
            },
        )
        columns = st.columns(2)
        for i, (key, (label, told)) in enumerate(_NUMBERS.items()):
            record[key] = columns[i % 2].number_input(
                label, min_value=0.0, value=None if key not in chip else float(chip[key]), format="%g", help=told
            )
        record["storage_bits"] = columns[1].number_input(
            "Fewest bits it stores a weight in", 1, 64, int(chip["storage_bits"])
        )
        record["weights_in_ram"] = st.checkbox("Weights are kept in RAM", bool(chip["weights_in_ram"]))
        source = st.text_input("Where the figures are from", placeholder="data sheet, page; or: assumed")
        pressed = st.form_submit_button("Check and keep it", icon=":material/save:")
    if pressed:
        rows = edited.dropna().to_dict("records")
        record |= {
            "supports": sorted({int(row["bits"]) for row in rows}),
            "peak_gops": {int(row["bits"]): row["gops"] for row in rows},
            "pj_per_mac": {int(row["bits"]): row["pj"] for row in rows},
            "sources": [source.strip() or "stated by whoever added it, without a source"],
        }
        # An empty field says nothing; zero is what a chip without flash or static power has.
        _keep({k: v for k, v in record.items() if v not in (None, 0.0)})


def _keep(record: Any) -> None:
    access.require("editor")
    try:
        path = keep_profile(record)
    except InputError as error:
        st.error(shell.plain(str(error)), icon=":material/error:")
        return
    st.success(f"{path.stem} is kept; choose it in the first tab.", icon=":material/check:")
