"""A run as OpenTelemetry's spans: one for the run of a sweep, below it one for each node that ran.

Asked for by the variables that OpenTelemetry defines for every program: OTEL_TRACES_EXPORTER (`otlp` or `console`),
OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_SDK_DISABLED. Without them nothing is loaded. A run that
goes on where another stopped has spans for what it ran itself and a link to that other run, whose spans it does not tell again: nodes that
were finished are no work.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine import __version__
from engine.errors import InputError, SetupError
from engine.paths import home
from engine.run.outcome import Outcome
from engine.run.watched import NodeEnd
from engine.spec.sweep import Sweep

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Link, Span, SpanContext, Tracer

_PROTOCOL = "http/protobuf"
_NS = 10**9


class Trace:
    """The spans of one run; `end` says how it ended."""

    def __init__(self, tracer: Tracer, sweep: Sweep, links: list[Link]) -> None:
        from opentelemetry.trace import set_span_in_context

        facts = {"paretoscope.sweep.id": sweep.id, "paretoscope.sweep.name": sweep.name}
        self.tracer, self.sweep_id = tracer, sweep.id
        self.root = tracer.start_span(f"sweep {sweep.name}", links=links, attributes=facts)
        self.context = set_span_in_context(self.root)
        self.made: dict[str, SpanContext] = {}
        self.ended: dict[str, int] = {}
        self.began = time.time_ns()

    def node(self, end: NodeEnd) -> None:
        """One node, from when to when it ran, with links to those of its inputs that this run made.

        Dask tells times of a worker by its guess of how far that clock is from the scheduler's, which is some milliseconds off: what
        cannot be (a node that begins before its inputs ended, or the run did) is moved to the nearest moment that can.
        """
        from opentelemetry.trace import Link, Status, StatusCode

        now = time.time_ns()
        began = max(_ns(end.began_s, now), self.began, *(self.ended.get(key, 0) for key in end.node.inputs))
        ended = max(began, min(_ns(end.ended_s, now), now))
        facts: dict[str, str | int | float] = {
            "paretoscope.sweep.id": self.sweep_id,
            "paretoscope.node.key": end.node.key,
            "paretoscope.node.kind": end.node.kind,
            "paretoscope.node.recipe": end.recipe,
            "paretoscope.node.device": end.node.device,
            "paretoscope.node.seed": end.node.seed,
            "paretoscope.node.outcome": "failed" if end.error else "done",
        }
        if end.worker is not None:
            facts["paretoscope.node.worker"] = end.worker
        if end.core_seconds is not None:
            facts["paretoscope.node.core_seconds"] = end.core_seconds
        span = self.tracer.start_span(
            end.node.kind,
            context=self.context,
            start_time=began,
            attributes=facts,
            links=[Link(self.made[key]) for key in end.node.inputs if key in self.made],
        )
        self.made[end.node.key], self.ended[end.node.key] = span.get_span_context(), ended
        if end.error:
            span.add_event("exception", {"exception.message": end.error}, timestamp=ended)
            span.set_status(Status(StatusCode.ERROR, end.error))
        span.end(ended)

    def end(self, outcome: Outcome) -> None:
        """The whole run, with how much of it was done."""
        from opentelemetry.trace import Status, StatusCode

        for name in ("state", "nodes_run", "trials_done", "trials_failed", "recipes_left", "waited_s"):
            self.root.set_attribute(f"paretoscope.run.{name}", getattr(outcome, name))
        if outcome.state == "failed":
            self.root.set_status(Status(StatusCode.ERROR, "every recipe failed"))
        self.root.end()


def _ns(seconds: float | None, otherwise: int) -> int:
    return otherwise if seconds is None else int(seconds * _NS)


@contextmanager
def traced(sweep: Sweep, environment: Mapping[str, str] | None = None) -> Iterator[Trace | None]:
    """The trace of a run of a sweep, sent when it has ended; None where nobody asks for one.

    Raises SetupError for an exporter or a protocol that there is not. What is refused before it runs leaves no span.
    """
    asked = exporter_asked(os.environ if environment is None else environment)
    exporter = _exporter(asked) if asked else None
    if exporter is None:
        yield None
        return
    with _provided(exporter) as tracer:
        before = _file(sweep.id)
        trace = Trace(tracer, sweep, _links(before))
        _keep(before, trace.root)
        try:
            yield trace
        except InputError:
            raise
        except BaseException as error:
            trace.root.record_exception(error)
            trace.root.end()
            raise


def exporter_asked(environment: Mapping[str, str]) -> str | None:
    """`otlp` or `console`, as OpenTelemetry's variables say; None where they ask for none. Raises SetupError for others."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    places = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    asked = named or ("otlp" if any(environment.get(p) for p in places) else "none")
    if asked == "none":
        return None
    if asked not in ("otlp", "console"):
        raise SetupError(f"OTEL_TRACES_EXPORTER is {asked!r}; set it to otlp, console or none")
    protocols = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((environment[p] for p in protocols if environment.get(p)), _PROTOCOL)
    if asked == "otlp" and protocol != _PROTOCOL:
        raise SetupError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, and spans are sent by {_PROTOCOL} alone; set it to that"
        )
    return asked


def _exporter(asked: str) -> SpanExporter | None:
    """None, with a warning, where the packages are missing: the variables may be there for other programs."""
    try:
        if asked == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            # Standard output is for answers.
            return ConsoleSpanExporter(out=sys.stderr)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    except ImportError:
        sys.stderr.write(
            "warning: OpenTelemetry's variables ask for spans, which takes its packages; run pip install 'paretoscope[otel]', or set "
            "OTEL_TRACES_EXPORTER=none\n"
        )
        return None


@contextmanager
def _provided(exporter: SpanExporter) -> Iterator[Tracer]:
    """A tracer whose spans go to the exporter, all of them before this ends."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "paretoscope"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield provider.get_tracer("paretoscope", __version__)
    finally:
        provider.shutdown()


def _file(sweep_id: str) -> Path:
    """Where the last run's span is kept, for the next one to link to."""
    return home() / "traces" / f"{sweep_id}.json"


def _links(path: Path) -> list[Link]:
    from opentelemetry.trace import Link, SpanContext, TraceFlags

    with suppress(OSError, ValueError, KeyError):
        kept = json.loads(path.read_text())
        trace_id, span_id = int(kept["trace_id"], 16), int(kept["span_id"], 16)
        facts = {"paretoscope.link": "the run before"}
        return [Link(SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(1)), facts)]
    return []


def _keep(path: Path, root: Span) -> None:
    context = root.get_span_context()
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}))
