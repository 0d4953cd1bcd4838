"""Spans of real runs, received over HTTP as a collector receives them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.errors import SetupError
from engine.interchange.spans import Trace, exporter_asked, traced
from engine.run.plan import Node
from engine.run.watched import NodeEnd
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from tests.helpers.command_line import paretoscope
from tests.helpers.places import ROOT
from tests.helpers.small_sweep import write_small_sweep
from tests.helpers.specs import SPEC

pytest.importorskip("opentelemetry.sdk")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A collector's address, and the spans that it has received."""
    trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    received: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            request = trace_service.ExportTraceServiceRequest.FromString(body)
            for one in request.resource_spans:
                named = {a.key: a.value.string_value for a in one.resource.attributes}
                received.extend((named["service.name"], s) for scope in one.scope_spans for s in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def facts(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_a_run_is_spans_at_a_collector_and_the_next_one_links_to_it(
    tmp_path: Path, collector: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
):
    endpoint, received = collector
    home, spec = tmp_path / "home", write_small_sweep(tmp_path)
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SERVICE_NAME": "our sweeps"}
    done = paretoscope("run", spec, "--json", home=home, **asked)
    assert done.returncode == 0, done.stderr
    sweep = json.loads(done.stdout)
    assert {name for name, _ in received} == {"our sweeps"}
    first = [span for _, span in received]
    (root,) = [s for s in first if not s.parent_span_id]
    nodes = [s for s in first if s is not root]
    assert {s.parent_span_id for s in nodes} == {root.span_id}
    assert {s.trace_id for s in first} == {root.trace_id}
    assert len(nodes) == sweep["nodes_run"] == facts(root)["paretoscope.run.nodes_run"]
    assert facts(root)["paretoscope.sweep.id"] == sweep["sweep"]
    assert not root.links

    monkeypatch.setenv("PARETOSCOPE_HOME", str(home))
    keys = [facts(s)["paretoscope.node.key"] for s in nodes]
    rows = Store.open().nodes(keys)
    assert len(rows) == len(nodes)
    for span in nodes:
        told = facts(span)
        row = rows[told["paretoscope.node.key"]]
        assert (span.name, told["paretoscope.node.core_seconds"]) == (row.kind, row.seconds)
        assert told["paretoscope.node.outcome"] == "done"
        assert told["paretoscope.node.worker"].startswith("tcp://")
        assert root.start_time_unix_nano < span.start_time_unix_nano < span.end_time_unix_nano
        assert span.end_time_unix_nano < root.end_time_unix_nano
    # What a node works on ended before it began, and is linked to.
    by_id = {s.span_id: s for s in nodes}
    links = [(by_id[link.span_id], s) for s in nodes for link in s.links]
    assert links
    assert all(before.end_time_unix_nano <= after.start_time_unix_nano for before, after in links)

    received.clear()
    again = paretoscope("run", spec, "--json", home=home, **asked)
    assert json.loads(again.stdout)["nodes_run"] == 0
    ((_, second),) = received
    assert [(link.trace_id, link.span_id) for link in second.links] == [(root.trace_id, root.span_id)]
    assert second.trace_id != root.trace_id


def test_a_node_that_failed_says_so(monkeypatch: pytest.MonkeyPatch):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace = Trace(provider.get_tracer("test"), parse_sweep(SPEC), [])
    node, began = Node("ab" * 32, "prune", (), {}, 1.0, None), time.time()
    monkeypatch.setattr(time, "time_ns", lambda: int((began + 60) * 10**9))
    trace.node(
        NodeEnd(
            node, "channels −50 %", "layer conv1 would have 0 channels", None, "tcp://10.0.0.1:1", began, began + 2.5
        )
    )
    # A worker died over it: nobody knows when it began.
    trace.node(NodeEnd(node, "channels −50 %", "the worker died", None, None, None, None))
    failed, died = memory.get_finished_spans()
    assert (failed.start_time, failed.end_time) == (int(began * 10**9), int((began + 2.5) * 10**9))
    assert failed.status.status_code.name == died.status.status_code.name == "ERROR"
    (event,) = failed.events
    assert (event.name, dict(event.attributes or {})) == (
        "exception",
        {"exception.message": "layer conv1 would have 0 channels"},
    )
    assert (failed.attributes or {})["paretoscope.node.outcome"] == "failed"
    assert "paretoscope.node.worker" not in (died.attributes or {})


def test_a_clock_that_is_off_moves_no_node_before_what_it_works_on(monkeypatch: pytest.MonkeyPatch):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    start = time.time()
    trace = Trace(provider.get_tracer("test"), parse_sweep(SPEC), [])
    monkeypatch.setattr(time, "time_ns", lambda: int((start + 60) * 10**9))
    first, second = (Node(c * 64, "prune", i, {}, 1.0, None) for c, i in (("a", ()), ("b", ("a" * 64,))))
    trace.node(NodeEnd(first, "x", None, 1.0, "tcp://10.0.0.1:1", start - 5, start + 20.003))
    trace.node(NodeEnd(second, "x", None, 1.0, "tcp://10.0.0.1:1", start + 20.001, start + 70))
    one, two = memory.get_finished_spans()
    assert trace.began == one.start_time
    assert one.end_time == two.start_time == int((start + 20.003) * 10**9)
    assert two.end_time == int((start + 60) * 10**9)


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "x"}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, None),
        ({"OTEL_SDK_DISABLED": "True", "OTEL_TRACES_EXPORTER": "console"}, None),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4318/v1/traces"}, "otlp"),
    ],
)
def test_the_usual_variables_ask_for_spans(environment: dict[str, str], asked: str | None):
    assert exporter_asked(environment) == asked


def test_an_exporter_that_there_is_not_is_refused_before_anything_runs():
    with (
        pytest.raises(SetupError, match="'zipkin'; set it to otlp, console or none"),
        traced(parse_sweep(SPEC), {"OTEL_TRACES_EXPORTER": "zipkin"}),
    ):
        pytest.fail("it ran")
    with pytest.raises(SetupError, match=r"'grpc'.*http/protobuf"):
        exporter_asked({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_nothing_of_it_is_loaded_where_nobody_asks():
    code = (
        "import sys\nfrom engine.interchange.spans import traced\n"
        "with traced(None, {}) as trace: assert trace is None\n"
        "print(sorted(m for m in sys.modules if m.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
