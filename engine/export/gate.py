"""A bundle as a gate in front of a release: held against limits and against another bundle, told as a table, JUnit or Markdown.

A build machine is not the machine that a limit is meant for, and never twice the same. So against another bundle time is judged by the
ratio of the two, measured in turns here; a limit in milliseconds is held against that ratio times what the other one took where it was
measured.
"""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.export.board_template import in_turns, ratio_of
from engine.export.bundle import PARTS, VerifyReport, verify_bundle
from engine.export.predict_template import BundleError, open_bundle, read_json
from engine.export.verify_template import (
    FORMAT,
    Check,
    Limits,
    Quality,
    one_call,
    quality_on,
    recorded_quality,
    verify,
)
from engine.export.zips import unpacked


def gate(
    bundle: Path, limits: Limits, data: Path | None = None, against: Path | None = None, max_ratio: float | None = None
) -> VerifyReport:
    """All checks of a bundle; with `against` what is lost is lost to that bundle, on `data` where given, and time is judged by their ratio.

    `max_ratio` is the most of the other one's time. Raises InputError for what is no bundle, and for limits that need another one or have
    no sense.
    """
    if against is None:
        if max_ratio is not None:
            raise InputError("--max-ratio is a share of another bundle's time; name it with --against OTHER.zip")
        return verify_bundle(bundle, data, limits)
    with unpacked(bundle, PARTS) as ours, unpacked(against, PARTS) as theirs:
        try:
            _comparable(ours, theirs, limits, data)
            before, other = _quality(theirs, data), read_json(theirs / "manifest.json")
            checks = verify(ours, data, replace(limits, max_p95_ms=None), before)
            if max_ratio is not None or limits.max_p95_ms is not None:
                checks += _times(ours, theirs, other, limits.max_p95_ms, max_ratio)
        except BundleError as error:
            raise InputError(f"{bundle} against {against}: {error}") from None
    return VerifyReport(tuple(checks))


def _comparable(ours: Path, theirs: Path, limits: Limits, data: Path | None) -> None:
    """Raises BundleError for another bundle of an older layout, and where limits of quality would set unlike numbers side by side."""
    one, other = (read_json(folder / "manifest.json") for folder in (ours, theirs))
    if other.get("format") != FORMAT:
        raise BundleError(f"the other has format {other.get('format')!r}, this program reads {FORMAT}; export it again")
    if limits.max_drop is None and limits.max_worst_class_drop is None:
        return
    judged = [(manifest["expected"]["metric"] or {}).get("name") for manifest in (one, other)]
    if judged[0] != judged[1]:
        raise BundleError(f"one is judged by {judged[0]}, the other by {judged[1]}; what is lost cannot be told")
    labels = [(folder / "labels.txt").read_text(encoding="utf-8").splitlines() for folder in (ours, theirs)]
    if labels[0] != labels[1]:
        raise BundleError(
            f"they know other classes ({_few(labels[0])}; {_few(labels[1])}); what is lost cannot be told"
        )
    counted = [recorded_quality(manifest).n for manifest in (one, other)]
    if data is None and counted[0] != counted[1]:
        raise BundleError(
            f"they were measured on {counted[0]} and {counted[1]} samples; give the same to both with --data"
        )


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:3]) + (f" … {len(labels)} in all" if len(labels) > 3 else "") or "none"


def _quality(folder: Path, data: Path | None) -> Quality:
    manifest = read_json(folder / "manifest.json")
    if data is None:
        return recorded_quality(manifest)
    return quality_on(open_bundle(folder, manifest), data, manifest, read_json(folder / "preprocess.json"))


def _times(
    ours: Path, theirs: Path, other: dict[str, Any], max_p95_ms: float | None, max_ratio: float | None
) -> list[Check]:
    """The checks of time, by the ratio of a sample's time."""
    (call, size), (other_call, other_size) = _call(ours), _call(theirs)
    value, low, high = ratio_in_turns(call, other_call)
    said = f"×{value:.3f} (×{low:.3f} to ×{high:.3f})"
    checks = []
    if max_ratio is not None:
        checks.append(
            Check("time against the other, in turns here", value <= max_ratio, said, f"at most ×{max_ratio:g}")
        )
    if max_p95_ms is not None:
        then = (other["expected"]["latency_ms"] or {}).get("p95")
        if then is None:
            raise BundleError(
                "the other bundle has no latency, by which milliseconds could be judged; give --max-ratio"
            )
        # Of a call, as it is without another bundle: of as many samples as each takes at once.
        here = then * value * size / other_size
        found = f"{here:.3f}: {then:.3f} of the other, {said} here"
        checks.append(
            Check(
                "p95 latency where the other was measured, ms",
                here <= max_p95_ms,
                found,
                f"at most {max_p95_ms:g}",
            )
        )
    return checks


def _call(folder: Path) -> tuple[Callable[[], float], int]:
    """A call of the bundle's model on its first sample, which tells the seconds that one sample took, and how many it takes at once."""
    manifest, settings = read_json(folder / "manifest.json"), read_json(folder / "preprocess.json")
    session = open_bundle(folder, manifest)
    feed, batch = one_call(session, folder, manifest, settings)

    def call() -> float:
        start = time.perf_counter()
        session.run(None, feed)
        return (time.perf_counter() - start) / batch

    return call, batch


def ratio_in_turns(a: Callable[[], float], b: Callable[[], float]) -> tuple[float, float, float]:
    """How long `a` takes as a share of `b`, in turns here: the median over blocks, with its 95 % interval by their order."""
    return ratio_of(*in_turns(a, b))


def junit(name: str, checks: Sequence[Check]) -> str:
    """The checks as JUnit XML, which every build server shows: one test case each."""
    failed = sum(not check.ok for check in checks)
    suite = ET.Element(
        "testsuite", name=f"paretoscope {name}", tests=str(len(checks)), failures=str(failed), errors="0"
    )
    for check in checks:
        case = ET.SubElement(suite, "testcase", classname="paretoscope", name=check.name)
        if check.ok:
            ET.SubElement(case, "system-out").text = f"{check.found}; expected {check.expected}"
        else:
            ET.SubElement(case, "failure", message=f"{check.found}; expected {check.expected}")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def markdown(name: str, checks: Sequence[Check]) -> str:
    """The checks as a table of Markdown, as GitHub's summary of a step takes it."""
    failed = sum(not check.ok for check in checks)
    verdict = f"{failed} of {len(checks)} checks failed" if failed else f"passed, {len(checks)} checks"
    rows: list[tuple[str, ...]] = [("", "check", "found", "expected"), ("---",) * 4]
    rows += [("✅" if c.ok else "❌", *(x.replace("|", "\\|") for x in (c.name, c.found, c.expected))) for c in checks]
    return f"### {name}: {verdict}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n"
