"""The part of the form of a new sweep that asks for model and data: built in, uploaded, or by path and name; and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

import streamlit as st

from engine.errors import SpecError
from engine.models.catalog import DESCRIPTIONS, zoo_index
from engine.spec.sections import EMBEDDED
from engine.uploads.keep import upload_at
from pages.new_sweep import uploader
from pages.new_sweep.draft import Draft
from pages.new_sweep.fields import chips, choice, key, number, text
from pages.new_sweep.reading import COLOURS, KINDS, LAYOUTS, NUMBERS, OWN, Reading
from pages.shared import reach, shell

UPLOAD, OTHER = "upload a file …", "by path or name …"
Part = Literal["model", "data"]
_PARTS: tuple[Part, ...] = ("model", "data")
_SHIPPED = {
    "fashion_mnist": "60,000 training and 10,000 test images of clothes, grey, 28×28; shipped.",
    "pen_digits": "7,494 training and 3,498 test series of a pen that writes a digit, x and y of eight points; shipped.",
}
_MOST_OUTPUTS = 64
"""A file may have thousands, which nobody could choose from."""
_READ = tuple(f.name for f in fields(Reading) if not f.name.startswith("model_"))


def put(draft: Draft) -> None:
    """Make the boxes show a draft's model and data; before they are drawn."""
    for part in _PARTS:
        source = getattr(draft, part)
        if source in (zoo_index() if part == "model" else EMBEDDED):
            continue
        uploaded = not source or upload_at(source) is not None
        st.session_state[key(part)] = UPLOAD if uploaded else OTHER
        st.session_state[uploader.held(part) if uploaded else key(f"{part}_path")] = source


def meant(typed: Mapping[str, str]) -> dict[str, str]:
    """The sources that the boxes, as they were `typed`, stand for."""
    found: dict[str, str] = {}
    for part in _PARTS:
        keys = {UPLOAD: uploader.held(part), OTHER: key(f"{part}_path")}
        found[part] = st.session_state.get(keys[typed[part]], "") if typed[part] in keys else typed[part]
    return found


def check_there(draft: Draft) -> None:
    """Raises SpecError where there is no network, or no data, yet."""
    for part, what in (("model", "network"), ("data", "data")):
        if not getattr(draft, part).strip():
            raise SpecError(f"there is no {what} yet; upload a file, name one, or choose what is built in")


def sources() -> dict[str, Any]:
    """The fields of `Draft` that say which model and data, and how they are read."""
    left, right = st.columns(2)
    with left:
        found = _model()
    with right:
        data = choice("Dataset", "data", [*EMBEDDED, UPLOAD, OTHER], "What to train and measure on.")
        if data == UPLOAD:
            data = uploader.uploaded("data")
        elif data == OTHER:
            data = text("Data by path or name", "data_path", _data_help(), "/path/to/pictures or medmnist:pathmnist")
        else:
            st.caption(_SHIPPED[data])
    found["data"] = data
    if data not in EMBEDDED or _is_stated(*_READ):
        with st.expander("How the data are read", icon=":material/tune:"):
            found |= _reading(data)
    return found


def _is_stated(*names: str) -> bool:
    """Whether a box holds something that a spec said, drawn or not."""
    return any(st.session_state.get(key(name), getattr(Reading, name)) != getattr(Reading, name) for name in names)


def _model() -> dict[str, Any]:
    found: dict[str, Any] = {"weights": ""}
    told = "A built-in network, trained and shipped, or one of your own."
    model = choice("Model", "model", [*zoo_index(), UPLOAD, OTHER], told)
    if model == UPLOAD:
        found["model"] = uploader.uploaded("model")
    elif model == OTHER:
        found["model"] = text(
            "Network by path or name", "model_path", _model_help(), "/path/to/net.py:build or timm:NAME"
        )
        if not found["model"].endswith((".onnx", ".pt2")):
            told = "The trained weights of a network that is built: .safetensors, .pt and their like."
            found["weights"] = text("Checkpoint", "weights", told, "/path/to/weights.safetensors")
    else:
        found["model"] = model
        entry = zoo_index()[model]
        st.caption(
            f"{DESCRIPTIONS[model]} Trained on {entry.dataset}: {entry.accuracy * 100:.2f} % of its test are right."
        )
    found |= _outputs(found["model"])
    if (model == OTHER and not found["model"].endswith((".onnx", ".pt2"))) or _is_stated("model_options"):
        told = "What the function that builds the network is called with, beside classes and channels."
        found["model_options"] = text("Options of the network", "model_options", told, "width: 32, depth: 2")
    return found


def _outputs(source: str) -> dict[str, Any]:
    """Which of several outputs count; of a file on the server what a spec said."""
    kept = upload_at(source) if source else None
    given: dict[str, str] = kept.facts["outputs"] if kept is not None and kept.kind == "onnx" else {}
    stated = st.session_state.get(f"{key('model_outputs')} offered", ())
    if len(given) < 2 and (given or source in zoo_index() or not stated):
        return {}
    told = "One, or several at once: then all are kept close to the baseline’s, each weighed by how much it varies."
    shapes = {name: shell.plain(f"{name[:80]} ({shape})") for name, shape in given.items()}
    chosen = chips(
        "Outputs that count",
        "model_outputs",
        [*given][:_MOST_OUTPUTS],
        told,
        lambda name: shapes.get(name, name),
        is_open=not given,
    )
    if given and not chosen:
        st.caption(f"The network gives {len(given)} outputs; choose the one that counts, or several.")
    return {"model_outputs": chosen}


def _model_help() -> str:
    return f"torchvision:NAME or timm:NAME{_paths(', an .onnx file, a Python function that builds the network, or a .pt2')}."


def _data_help() -> str:
    kinds = (
        ", a folder of pictures (in folders named as their classes, or without labels), an .npz or .npy, a .csv or .parquet, "
        "a Python function"
    )
    return f"torchvision:NAME or medmnist:NAME, once prepared{_paths(kinds)}. How numbers are prepared is found by the check."


def _paths(kinds: str) -> str:
    """What may be named by its path, and where."""
    folders = reach.folders()
    if folders is None:
        return f"{kinds}; by its path on this machine"
    return f"{kinds}; in {', '.join(map(str, folders))}" if folders else "; this server reads no paths"


def _reading(data: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    left, middle, right = st.columns(3)
    told = "Their names, between commas, in the order of the numbers of the labels; or how many there are. Empty: as the data say."
    found["data_classes"] = text("Classes", "data_classes", told, "10, or cat, dog", place=left)
    told = "What arrays hold, where their shape does not tell."
    found["data_kind"] = choice("Items are", "data_kind", list(KINDS), told, KINDS.__getitem__, place=middle)
    told = "The order of the axes that the network reads. The data’s own order is found by itself."
    found["data_layout"] = choice(
        "The network reads", "data_layout", list(LAYOUTS), told, LAYOUTS.__getitem__, place=right
    )
    left, middle, right = st.columns(3)
    told = "Left to the check, the usual ways are tried on a few samples, and the best is taken and shown."
    found["data_numbers"] = choice("Numbers", "data_numbers", list(NUMBERS), told, NUMBERS.__getitem__, place=left)
    told = "The order of the colours that the network reads."
    found["data_colours"] = choice("Colours", "data_colours", COLOURS, told, place=middle)
    if data.endswith((".csv", ".parquet", "/")) or _is_stated("data_target"):
        found["data_target"] = text("Column of labels", "data_target", "Of a table.", "species", place=right)
    if data.endswith(".npy") or _is_stated("data_labels"):
        found["data_labels"] = text("Labels", "data_labels", "The file beside an .npy.", "/path/to/y.npy", place=right)
    if found["data_numbers"] == OWN:
        left, middle, right = st.columns(3)
        found["data_scale"] = text("Scale", "data_scale", "Each number is multiplied by it first.", "1/255", place=left)
        told = "Taken off afterwards: one number, or one a channel, between commas."
        found["data_mean"] = text("Mean", "data_mean", told, "0.485, 0.456, 0.406", place=middle)
        told = "Divided by at the end; as many as means."
        found["data_std"] = text("Deviation", "data_std", told, "0.229, 0.224, 0.225", place=right)
    left, middle, right = st.columns(3)
    told = "Pictures are made so many pixels on their shorter side; 0 leaves them. For arrays it stays 0."
    found["data_resize"] = number("Pictures resized to", "data_resize", told, place=left)
    found["data_crop"] = number("and cut to", "data_crop", "A square around the centre; 0 cuts nothing.", place=middle)
    told = "Further arrays, or columns of a table, that say where an item is from, between commas: figures are told by them, too."
    found["data_slices"] = text("Slices", "data_slices", told, "site, device", place=right)
    return found
