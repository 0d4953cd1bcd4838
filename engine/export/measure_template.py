#!/usr/bin/env python3
"""Measures every model of a sweep's frontier on this machine. Needs Python 3.9 or newer, numpy and onnxruntime, and the unpacked folder.

    python measure.py [--output results.json] [--seconds 10] [--longest 600] [MODEL...]

It holds every file against its SHA-256, then starts a fresh process for each model, which compares its answers on sample.npz with those
recorded and times it in turns with the baseline. A model that fails is reported with its reason, and the others go on. What it found is
in results.json, for `paretoscope measured SWEEP results.json`. Exit code 0: all ran and passed; 1: one did not, which results.json says;
2: the folder is not as it was exported, or nothing could be measured. The checksums find damage and mix-ups. They are no signature.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.export.board_template import MEASUREMENT, Seconds, digest, in_turns, machine_here, ratio_of, spread_of
from engine.export.predict_template import BundleError, one_line, open_model, read_json
from engine.export.verify_template import call_times_ms, check_sample, check_stream, one_call, sha256

FRONTIER = 1
"""Of the layout of the folder; a program refuses a newer one."""

_MODELS = "models"
_BLOCK_S = 0.003  # Long against what a switch between two models costs.


def damaged(folder: Path, manifest: dict[str, Any]) -> str:
    """What is not as it was exported, in one line; empty where all is."""
    recorded, there = manifest["files"], folder / _MODELS
    missing = [name for name in recorded if not (folder / name).is_file()]
    wrong = [name for name in recorded if name not in missing and sha256(folder / name) != recorded[name]]
    held = [f"{_MODELS}/{path.name}" for path in sorted(there.iterdir())] if there.is_dir() else []
    foreign = [name for name in held if name not in recorded]
    said = ((missing, "missing"), (wrong, "altered or cut off"), (foreign, "not of this frontier"))
    return "; ".join(f"{', '.join(names)}: {what}" for names, what in said if names)


def opened(folder: Path, manifest: dict[str, Any], name: str) -> Any:
    """The session of a model, as its trial was measured; raises BundleError."""
    how = manifest["models"][name]["manifest"]["runtime"]
    path = folder / _MODELS / f"{name}.onnx"
    return open_model(path, how["threads"], how["graph_optimisation"], how["provider"])


def call_of(session: Any, folder: Path, one: dict[str, Any]) -> tuple[Seconds, int]:
    """A call on the sample's first input, which tells the seconds that one sample took, and how many it takes at once."""
    feed, batch = one_call(session, folder, one["manifest"], one["settings"])

    def call() -> float:
        start = time.perf_counter()
        session.run(None, feed)
        return (time.perf_counter() - start) / batch

    return call, batch


def measured(folder: Path, manifest: dict[str, Any], name: str, reference: str, seconds: float) -> dict[str, Any]:
    """One model, in this process: its checks, its times, and in turns with the `reference` (none where empty) theirs.

    `latency_ms` and `reference_ms` are of a call, `ratio` is of a sample's time. Raises BundleError where it does not run.
    """
    one = manifest["models"][name]
    session = opened(folder, manifest, name)
    checks = check_sample(session, folder, one["manifest"], one["settings"])
    checks += check_stream(session, folder, one["manifest"], one["settings"])
    call, batch = call_of(session, folder, one)
    found: dict[str, Any] = {"checks": [vars(check) for check in checks], "ratio": None, "reference_ms": None}
    if reference in ("", name):
        feed, batch = one_call(session, folder, one["manifest"], one["settings"])
        times = call_times_ms(session, feed, min_s=min(1.0, seconds), max_s=seconds)
        return found | {"latency_ms": spread_of(times) | {"batch": batch}}
    other, size = call_of(opened(folder, manifest, reference), folder, manifest["models"][reference])
    ours, theirs = in_turns(call, other, seconds, _BLOCK_S)
    own, beside = ([1e3 * t * n for block in blocks for t in block] for blocks, n in ((ours, batch), (theirs, size)))
    ratio = dict(zip(("value", "low", "high"), ratio_of(ours, theirs)))
    latency = spread_of(own) | {"batch": batch}
    return found | {"latency_ms": latency, "ratio": ratio, "reference_ms": spread_of(beside) | {"batch": size}}


def apart(name: str, reference: str, seconds: float, longest: float) -> dict[str, Any]:
    """The same in a process of its own, which may end as it likes: what it found, or `error`, why it found nothing."""
    command = [sys.executable, *(["-I"] if sys.flags.isolated else []), str(Path(__file__).resolve())]
    command += ["--one", name, "--reference", reference, "--seconds", str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=longest, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"it was not done after {longest:g} s and was stopped", "late": True}
    if done.returncode < 0:
        return {"error": f"its process was ended by {signal_text(-done.returncode)}"}
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        return {"error": f"its process ended with code {done.returncode}: {last[:300]}"}


def signal_text(number: int) -> str:
    """A signal as people look it up, and what it most often means."""
    name = signal.Signals(number).name if number in {int(one) for one in signal.Signals} else "unknown here"
    return f"signal {number} ({name}{', most often for want of memory' if name == 'SIGKILL' else ''})"


def together(found: dict[str, dict[str, Any]], baseline: str) -> None:
    """Puts every model's milliseconds on one footing: its ratio times the median of the baseline's own times over the whole session.

    Models are measured minutes apart, and boards slow down as they warm up; the ratio is deaf to that. `moved` is how far the baseline's
    medians lay apart, as a share: what milliseconds without a ratio would be wrong by.
    """
    turns = [one["reference_ms"] for one in found.values() if one.get("reference_ms")]
    own = found[baseline]
    if "error" in own or not turns:
        return
    medians = [own["latency_ms"]["p50"], *(turn["p50"] for turn in turns)]
    centre, batch = float(np.median(medians)), own["latency_ms"]["batch"]
    own["moved"] = max(medians) / min(medians) - 1
    for one in found.values():
        if "error" in one:
            continue
        times = one["as_timed_ms"] = dict(one["latency_ms"])
        if one["ratio"]:
            each = centre / batch * times["batch"]
            value, low, high = (each * one["ratio"][end] for end in ("value", "low", "high"))
        elif one is own:
            value, low, high = centre, min(medians), max(medians)
        else:
            continue
        scale = value / times["p50"]
        one["latency_ms"] = {
            **times, "p50": value, "low": low, "high": high, "p95": scale * times["p95"], "p99": scale * times["p99"]
        }  # fmt: skip


def line_of(name: str, one: dict[str, Any]) -> str:
    """A model's result for the person at the board."""
    if "error" in one:
        return f"FAIL  {name}  {one['error']}"
    failed = [f"{c['name']}: {c['found']}, expected {c['expected']}" for c in one["checks"] if not c["ok"]]
    ratio = one["ratio"]
    beside = f"  ×{ratio['value']:.3f} (×{ratio['low']:.3f} to ×{ratio['high']:.3f}) of the baseline" if ratio else ""
    said = f"{'FAIL' if failed else 'ok  '}  {name}  {one['latency_ms']['p50']:.4g} ms{beside}"
    return "  ".join([said, *failed])


def report(manifest: dict[str, Any], found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What is written: which files, where they ran, how fast, what was checked, and which did not run, and why."""
    models = []
    for name, one in found.items():
        about = manifest["models"][name]
        said = {"trial": name, "label": about["manifest"]["label"], "sha256": about["bare_sha256"]}
        ok = "error" not in one and all(check["ok"] for check in one["checks"])
        models.append({**said, "runtime": about["manifest"]["runtime"], "ok": ok, **one})
    made = {
        "measurement": MEASUREMENT,
        "sweep": manifest["sweep"],
        "baseline": manifest["baseline"],
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine_here(),
        "models": models,
    }
    return {**made, "digest": digest(made)}


def every(manifest: dict[str, Any], asked: Sequence[str], seconds: float, longest: float) -> dict[str, dict[str, Any]]:
    """All models, the baseline first, told as they begin; where the baseline does not run the others are timed alone."""
    baseline, known = manifest["baseline"], list(manifest["models"])
    strange = [name for name in asked if name not in known]
    if strange:
        raise BundleError(f"{strange[0]!r} is no model of this frontier; there are {', '.join(known)}")
    found: dict[str, dict[str, Any]] = {}
    names = [baseline, *(name for name in known if name != baseline and (not asked or name in asked))]
    for number, name in enumerate(names, 1):
        print(f"{number} of {len(names)}: {name}", file=sys.stderr, flush=True)
        runs = "error" not in found.get(baseline, {})
        one = apart(name, baseline if runs else "", seconds, longest)
        if "error" in one and runs and name != baseline and not one.get("late"):
            # There may be no room for two models at once.
            alone = apart(name, "", seconds, longest)
            one = one if "error" in alone else {**alone, "alone": one["error"]}
        found[name] = one
    together(found, baseline)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of measure.py; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measure every model of this frontier on this machine.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="which, by their ids; default: all")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="where to write; default: results.json here")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each model's calls (10)")
    parser.add_argument("--longest", type=float, default=600.0, help="seconds after which a model is given up (600)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--reference", default="", help=argparse.SUPPRESS)
    given, folder = parser.parse_args(arguments), Path(__file__).resolve().parent
    try:
        manifest = read_json(folder / "manifest.json")
        if manifest.get("frontier") != FRONTIER:
            raise BundleError(f"the folder has layout {manifest.get('frontier')!r}, this program reads {FRONTIER}")
        if given.one:
            try:
                found = measured(folder, manifest, given.one, given.reference, given.seconds)
            except Exception as error:  # whatever a model, an old runtime or a small board comes up with
                found = {"error": one_line(error) or type(error).__name__}
            print(json.dumps(found))
            return 0
        wrong = damaged(folder, manifest)
        if wrong:
            raise BundleError(f"{wrong}; unpack the zip again in an empty folder, or export it again")
        found = every(manifest, given.models, given.seconds, given.longest)
        made, output = report(manifest, found), given.output or folder / "results.json"
        output.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    except (BundleError, OSError, KeyError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    print("\n".join(line_of(name, one) for name, one in found.items()))
    ran = sum("error" not in one for one in found.values())
    print(
        f"{ran} of {len(found)} models ran; bring {output} back: paretoscope measured {manifest['sweep']} {output.name}"
    )
    return 0 if all(one["ok"] for one in made["models"]) else 1


if __name__ == "__main__":
    sys.exit(main())
