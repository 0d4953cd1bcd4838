"""The second half of a bundle's verify.py: its command line, and with --json what it measures on the machine that it runs on.

`verify_program` in `programs.py` puts it after `verify_template.py` and `board_template.py`; the same rules hold for it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.export.board_template import MEASUREMENT, digest, machine_here, spread_of
from engine.export.predict_template import BundleError, open_bundle, read_json
from engine.export.verify_template import Check, Limits, call_times_ms, one_call, verify


def latency_here(folder: Path) -> dict[str, float]:
    """One call, in milliseconds: percentiles, `low` and `high` of the 95 % interval of the median, by the order of the calls; their number.

    With the bundle's own session options, on a batch of the sample's first image. Raises BundleError.
    """
    manifest, settings = read_json(folder / "manifest.json"), read_json(folder / "preprocess.json")
    session = open_bundle(folder, manifest)
    feed, batch = one_call(session, folder, manifest, settings)
    return spread_of(call_times_ms(session, feed)) | {"batch": batch}


def report(folder: Path, checks: Sequence[Check]) -> dict[str, Any]:
    """What --json prints and `paretoscope measured` takes: which file, where it ran, how fast, what was checked; raises BundleError."""
    manifest = read_json(folder / "manifest.json")
    made = {
        "measurement": MEASUREMENT,
        "trial": manifest["trial"],
        "label": manifest["label"],
        # Of the file that the trial measured: what a bundle adds to it says only what it is.
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()[: manifest["bare"]]).hexdigest(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine_here(),
        "runtime": manifest["runtime"],
        "latency_ms": latency_here(folder),
        "ok": all(check.ok for check in checks),
        "checks": [vars(check) for check in checks],
    }
    return made | {"digest": digest(made)}


def table(checks: Sequence[Check]) -> list[str]:
    """The checks as lines of text, widths aligned, and a verdict."""
    rows = [("", "check", "found", "expected")]
    rows += [("ok" if c.ok else "FAIL", c.name, c.found, c.expected) for c in checks]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    n, failed = len(checks), sum(not c.ok for c in checks)
    verdict = f"FAILED: {failed} of {n} checks" if failed else f"passed: {n} checks"
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows] + [verdict]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of verify.py; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check this Paretoscope bundle on this machine.")
    parser.add_argument("--data", type=Path, metavar="FILE.npz", help="measure accuracy on your x_test and y_test too")
    parser.add_argument("--max-drop", type=float, metavar="POINTS", help="what may be lost to the baseline")
    parser.add_argument(
        "--max-worst-class-drop", type=float, metavar="POINTS", help="the same for the class that loses most"
    )
    parser.add_argument(
        "--min-metric", type=float, metavar="VALUE", help="least of what it is judged by; accuracy as a share"
    )
    parser.add_argument("--max-metric", type=float, metavar="VALUE", help="most of it, where less is better")
    parser.add_argument("--max-p95-ms", type=float, metavar="MS", help="95th percentile of latency on this machine")
    parser.add_argument("--max-kb", type=float, metavar="KB", help="size of model.onnx, 1 kB = 1000 bytes")
    parser.add_argument("--json", action="store_true", help="print JSON, with this machine's latency in it")
    given = parser.parse_args(arguments)
    folder = Path(__file__).resolve().parent
    limits = Limits(
        given.max_drop, given.max_worst_class_drop, given.min_metric, given.max_metric, given.max_p95_ms, given.max_kb
    )
    try:
        checks = verify(folder, given.data, limits)
        lines = [json.dumps(report(folder, checks), indent=1)] if given.json else table(checks)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0 if all(check.ok for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
