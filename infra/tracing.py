"""Spans of what a request went through, sent to an OpenTelemetry collector (OTLP over HTTP).

A span is recorded when it is over, under ids that its correlation tells (``domain.traces``): the
request, its append and its way into each read model meet in one trace, though they happen in
several processes.
"""

import atexit
from collections.abc import Mapping
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from domain.traces import Trace, trace_of

_KINDS: Final = {"request": SpanKind.SERVER}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class Tracing:
    """Where spans go. Safe in several threads; a queue that is full drops, and never waits."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._processor = processor
        self._resource = Resource.create({"service.name": "wangge"})

    def record(
        self,
        name: str,
        correlation: str,
        begun: int,
        ended: int,
        facts: Mapping[str, str | int],
        caller: Trace | None = None,
    ) -> None:
        """As ``domain.traces.Spans``."""
        request = trace_of(correlation)
        own, parent = (request, caller) if name == "request" else (request.part(name), request)
        span = ReadableSpan(
            name,
            context=_context(own),
            parent=parent and _context(parent),
            resource=self._resource,
            attributes={"wangge.correlation": correlation, **facts},
            kind=_KINDS.get(name, SpanKind.INTERNAL),
            start_time=begun,
            end_time=ended,
        )
        self._processor.on_end(span)

    def close(self) -> None:
        """Send what is left."""
        self._processor.shutdown()


def tracing(endpoint: str) -> Tracing:
    """Spans to a collector, http://host:4318 say."""
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    made = Tracing(BatchSpanProcessor(exporter))
    atexit.register(made.close)
    return made


def _context(of: Trace) -> SpanContext:
    return SpanContext(int(of.trace, 16), int(of.span, 16), is_remote=False, trace_flags=_SAMPLED)
