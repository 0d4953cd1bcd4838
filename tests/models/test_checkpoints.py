"""Checkpoints as training scripts leave them are read; where there is a choice, what was taken is said."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.errors import ModelError
from engine.models.catalog import source_kind
from engine.models.checkpoints import read_weights

NETWORK = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))
STATE = {name: torch.randn(t.shape) if t.ndim else t for name, t in NETWORK.state_dict().items()}
AVERAGE = {name: t + 1 for name, t in STATE.items()}
OPTIMISER = torch.optim.Adam(NETWORK.parameters())
NETWORK(torch.zeros(2, 1, 3, 3)).sum().backward()
OPTIMISER.step()


def under(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


SCRIPTS: dict[str, Any] = {
    "plain.th": STATE,
    "weights.bin": STATE,
    "model_best.pth.tar": {"epoch": 9, "arch": "net", "state_dict": under("module."), "best_acc1": torch.tensor(0.9)},
    "net_acc.pth": {"net": STATE, "acc": 91.2, "epoch": 4},
    "compiled.pt": under("_orig_mod."),
    "ddp_compiled.pt": {"model": under("module._orig_mod.")},
    "lightning.ckpt": {"state_dict": under("model."), "epoch": 1, "global_step": 9},
    "args.pt": {
        "model": STATE,
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(91.2),
        "optimizer": OPTIMISER.state_dict(),
    },
    "deep.pt": {"state": {"network": {"params": STATE}}, "config": {"lr": 0.1}},
    "mixed.pt": {**STATE, "epoch": 3},
    "unknown_key.pt": {"generator": under("any.thing."), "config": {}},
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_scripts_save_is_taken(name: str, tmp_path: Path) -> None:
    torch.save(SCRIPTS[name], tmp_path / name)
    found = read_weights(tmp_path / name, STATE.keys())
    assert found.fit
    assert found.note is None
    assert found.state.keys() == STATE.keys()
    assert all(torch.equal(found.state[n], t) for n, t in STATE.items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_prefixes_are_taken_off_in_safetensors_too(prefix: str, tmp_path: Path) -> None:
    save_file(under(prefix), tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors", STATE.keys()).state.keys() == STATE.keys()


def test_names_that_begin_like_a_wrapper_are_the_networks_own(tmp_path: Path) -> None:
    torch.save(under("module."), tmp_path / "w.pt")
    own = nn.ModuleDict({"module": NETWORK}).state_dict().keys()
    assert read_weights(tmp_path / "w.pt", own).state.keys() == own


def test_of_several_that_fit_the_trained_one_is_taken_and_said(tmp_path: Path) -> None:
    torch.save({"model_ema": under("module.", AVERAGE), "model": STATE}, tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt", STATE.keys())
    assert torch.equal(found.state["3.bias"], STATE["3.bias"])
    assert found.note == "weights are those under 'model' of w.pt; 'model_ema' at 'module.' would fit as well"
    torch.save(
        {"state_dict": under("net.") | under("net_ema.", AVERAGE) | {"loss.weight": torch.ones(3)}}, tmp_path / "l.ckpt"
    )
    found = read_weights(tmp_path / "l.ckpt", STATE.keys())
    assert torch.equal(found.state["3.bias"], STATE["3.bias"])
    assert found.note == (
        "weights are those under 'state_dict' at 'net.' of l.ckpt; 'state_dict' at 'net_ema.' would fit as well, and "
        f"{len(STATE) + 1} other tensors were left out"
    )


def test_two_of_the_same_rank_are_refused(tmp_path: Path) -> None:
    torch.save(under("student.") | under("teacher.", AVERAGE), tmp_path / "w.pt")
    with pytest.raises(
        ModelError, match=r"hold this network 2 times, under 'student\.' and 'teacher\.'; save one of them alone$"
    ):
        read_weights(tmp_path / "w.pt", STATE.keys())


def test_counters_may_be_missing_behind_a_prefix(tmp_path: Path) -> None:
    old = {n: t for n, t in under("module.").items() if not n.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt", STATE.keys()).fit


def test_what_does_not_fit_is_returned_for_the_message(tmp_path: Path) -> None:
    torch.save({"model": under("module.") | {"module.extra": torch.ones(1)}}, tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt", STATE.keys())
    assert not found.fit
    assert found.state.keys() - STATE.keys() == {"extra"}
    torch.save({"epoch": 3, "config": {"lr": 0.1}}, tmp_path / "n.pt")
    with pytest.raises(ModelError, match="are not a state dict"):
        read_weights(tmp_path / "n.pt", STATE.keys())


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_torchscript_program_is_told_as_such(tmp_path: Path) -> None:
    """And the remedy that is named works."""
    path = tmp_path / "net.pt"
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    torch.jit.script(network).save(path)
    names = network.state_dict()
    with pytest.raises(ModelError, match=r"TorchScript program, whose code is not run; save .*state_dict\(\), …\)$"):
        read_weights(path, names)
    with pytest.raises(ModelError, match=r"^model '.*net\.pt' is a TorchScript program, which is not read; give"):
        source_kind(str(path))
    torch.save(torch.jit.load(path).state_dict(), tmp_path / "own.pt")
    found = read_weights(tmp_path / "own.pt", names)
    assert all(torch.equal(found.state[name], tensor) for name, tensor in names.items())
    with pytest.raises(ModelError, match="holds weights alone"):
        source_kind(str(tmp_path / "own.pt"))
