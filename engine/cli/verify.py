"""`paretoscope verify`: a bundle, measured again and held against limits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.cli._options import JsonFlag, print_json


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE.zip", help="What `paretoscope export` wrote.")],
    data: Annotated[Path | None, typer.Option(help="An .npz with x_test and y_test to measure on.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="OTHER.zip", help="Hold it against this bundle instead of the recorded baseline."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Most that may be lost: points of accuracy, or the metric's unit."),
    ] = None,
    max_worst_class_drop: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Most that the class which loses most may lose.")
    ] = None,
    min_metric: Annotated[
        float | None, typer.Option(metavar="VALUE", help="Least of what it is judged by; accuracy as a share.")
    ] = None,
    max_metric: Annotated[float | None, typer.Option(metavar="VALUE", help="Most of it, where less is better.")] = None,
    max_p95_ms: Annotated[
        float | None,
        typer.Option(metavar="MS", help="Highest p95 latency here; with --against, there where OTHER was measured."),
    ] = None,
    max_ratio: Annotated[
        float | None, typer.Option(metavar="RATIO", help="Most of OTHER's time, measured in turns.")
    ] = None,
    max_kb: Annotated[float | None, typer.Option(metavar="KB", help="Largest model file, in kB of 1000 bytes.")] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE.xml", help="Write the checks as JUnit XML.")] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.md", envvar="GITHUB_STEP_SUMMARY", help="Append them as Markdown, as GitHub Actions asks."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure a bundle again and hold it against its card and your limits; exit code 1 when it fails."""
    from engine.errors import InputError
    from engine.export import gate
    from engine.export.verify_template import Limits
    from engine.export.zips import check_target, write_atomically

    if junit is not None:
        check_target(junit, "checks.xml")
    if summary is not None:
        check_target(summary, "summary.md")
    limits = Limits(max_drop, max_worst_class_drop, min_metric, max_metric, max_p95_ms, max_kb)
    report = gate.gate(bundle, limits, data, against, max_ratio)
    if junit is not None:
        write_atomically(junit, gate.junit(bundle.name, report.checks).encode())
    if summary is not None:
        try:
            with summary.open("a", encoding="utf-8") as file:
                file.write(gate.markdown(bundle.name, report.checks))
        except OSError as error:
            raise InputError(f"{summary} cannot be written ({error.strerror}); give --summary another path") from None
    print_json(report.to_json()) if as_json else print("\n".join(report.lines))
    if not report.ok:
        sys.exit(1)
