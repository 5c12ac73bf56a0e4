"""One trace from the request to its append, as a collector gets it."""

import asyncio
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.edge import Edge
from api.errors import answer
from domain.traces import trace_of
from infra.event_store import EventStore
from infra.group_commit import GroupCommit
from infra.migrations import role_dsn
from infra.tracing import Tracing, tracing
from projections.runner import Runner
from tests import samples

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def kept() -> InMemorySpanExporter:
    """Where the spans of a test end."""
    return InMemorySpanExporter()


@pytest.fixture
def spans(kept: InMemorySpanExporter) -> Tracing:
    """Tracing without a queue."""
    return Tracing(SimpleSpanProcessor(kept))


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Trace, span and parent as hexadecimal digits."""
    assert span.context is not None
    parent = f"{span.parent.span_id:016x}" if span.parent else None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


def test_a_request_within_its_callers_trace(kept: InMemorySpanExporter, spans: Tracing) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(scope["wangge.request"])(scope, receive, send)

    client = TestClient(Edge(app, 1000, 1000, answer, spans))
    answered = client.get("/there", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    (span,) = kept.get_finished_spans()
    trace, own, parent = ids(span)
    assert (trace, parent) == (TRACE, SPAN)
    assert answered.text == answered.headers["x-request-id"] == f"{TRACE}-{own}"
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 200
    assert (span.start_time or 0) < (span.end_time or 0)


def test_an_append_is_part_of_the_request_it_stores(
    store: EventStore,
    database: str,
    secret: bytes,
    kept: InMemorySpanExporter,
    spans: Tracing,
) -> None:
    async def go() -> None:
        dsn = role_dsn(database, secret, "wangge_app")
        async with GroupCommit(store, dsn, spans=spans) as commits:
            await commits.execute(samples.report(), samples.file(), correlation="5b1c6f3e5b1c6f3e")

    asyncio.run(go())
    (span,) = kept.get_finished_spans()
    request = trace_of("5b1c6f3e5b1c6f3e")
    assert span.name == "append"
    assert ids(span) == (request.trace, request.part("append").span, request.span)


def test_a_read_model_tells_of_the_requests_it_folds(
    store: EventStore, runner: Runner, kept: InMemorySpanExporter, spans: Tracing
) -> None:
    runner.spans = spans
    store.execute(samples.report(), samples.file(), correlation="5b1c6f3e5b1c6f3e")
    runner.catch_up()
    request = trace_of("5b1c6f3e5b1c6f3e")
    found = {span.name: ids(span) for span in kept.get_finished_spans()}
    for model in ("worklist", "containment", "audit"):
        own = request.part(f"project {model}")
        assert found[f"project {model}"] == (request.trace, own.span, request.span)


class Collector(ThreadingHTTPServer):
    """Takes what is sent, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.taken: list[ExportTraceServiceRequest] = []


class _Take(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        """One request with spans."""
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on loopback."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def test_what_is_recorded_arrives_at_the_collector() -> None:
    with collecting() as collector:
        sent = tracing(f"http://127.0.0.1:{collector.server_port}/")
        sent.record("append", "5b1c6f3e5b1c6f3e", 1, 2, {"wangge.events": 3})
        sent.close()
    (resource,) = collector.taken[0].resource_spans
    (span,) = resource.scope_spans[0].spans
    assert (span.name, span.start_time_unix_nano, span.end_time_unix_nano) == ("append", 1, 2)
    assert span.trace_id.hex() == trace_of("5b1c6f3e5b1c6f3e").trace
    assert "service.name" in {each.key for each in resource.resource.attributes}


def test_a_collector_that_is_away_costs_spans_and_nothing_else() -> None:
    with collecting() as collector:
        port = collector.server_port
    sent = tracing(f"http://127.0.0.1:{port}")
    sent.record("append", "5b1c6f3e5b1c6f3e", 1, 2, {})
    sent.close()
