"""``/metrics`` in the text that Prometheus reads: requests, read models, the process.

Nobody signs in to it, so it is for this machine alone, or for whoever has the token that was set.
Behind a proxy everybody comes from this machine: then only the token lets anyone in.
"""

import hmac
import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope

from api.headers import header
from api.services import API, Services
from projections.gateway import Gateway
from projections.standing import Standing

PATH: Final = "/metrics"

_LOOPBACK: Final = ("127.0.0.1", "::1")
_FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip")
_STEP: Final = re.compile(re.escape(API) + r"/cases/[^/]+/([a-z/-]+)")
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Measures:
    """The figures of one application; ``registry`` is what is told of.

    Of several server processes any one answers, for all: each counts in files of a folder that the
    environment names (``PROMETHEUS_MULTIPROC_DIR``, set by ``wangge serve --workers``), and whoever
    answers adds them up. What a process tells of itself (its memory) is left out then.
    """

    def __init__(self, gateway: Gateway) -> None:
        together = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self.registry = CollectorRegistry()
        own = CollectorRegistry() if together else self.registry
        if together:
            MultiProcessCollector(self.registry)  # type: ignore[no-untyped-call]  # it has no types
        else:
            ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "wangge_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=own,
        )
        self.groups = Histogram(
            "wangge_group_commands",
            "Commands that went to the disk together.",
            buckets=_SIZES,
            registry=own,
        )
        self.seconds = Histogram(
            "wangge_request_seconds",
            "How long an answer took.",
            ("route",),
            buckets=_BUCKETS,
            registry=own,
        )
        self.registry.register(_ReadModels(gateway))
        # To look for a figure by its labels takes longer than to count.
        self._counted = lru_cache(self.requests.labels)
        self._timed = lru_cache(self.seconds.labels)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count and time one request (``edge.Noting``)."""
        route = _template(scope, status)
        self._counted(scope["method"], route, status).inc()
        self._timed(route).observe(seconds)


def serve(app: FastAPI, services: Services, measures: Measures) -> None:
    """Add the route."""

    async def answer(request: Request) -> Response:
        if not _may(request, services.metrics_token):
            return Response(status_code=403)
        text = await run_in_threadpool(generate_latest, measures.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    app.router.add_route(PATH, answer, methods=["GET"], include_in_schema=False)


def _may(request: Request, token: str) -> bool:
    if token:
        given = header(request.scope, b"authorization") or ""
        return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
    client = request.client
    proxied = any(header(request.scope, name) is not None for name in _FORWARDED)
    return client is not None and client.host in _LOOPBACK and not proxied


def _template(scope: Scope, status: int) -> str:
    """The route as it is written, so that no id becomes a label."""
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    # Commands to cases go a short way on which no route is looked up (``Lane``).
    if scope["method"] == "POST" and status not in (0, 404, 405):
        if scope["path"] == f"{API}/cases":
            return f"{API}/cases"
        if step := _STEP.fullmatch(scope["path"]):
            return f"{API}/cases/{{case}}/{step[1]}"
    return "other"


class _ReadModels(Collector):
    """How far the read models are, looked up when somebody asks."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def describe(self) -> Iterable[Metric]:
        """Nothing: it is asked when it is registered, and there may be no database then."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """One family a figure, one sample a read model."""
        known = self._gateway.standings()
        head = GaugeMetricFamily("wangge_log_position", "The last position of the log.")
        head.add_metric((), self._gateway.head())
        yield head
        figures: tuple[tuple[str, str, Callable[[Standing], float]], ...] = (
            ("position", "How far it knows the log.", lambda at: at.position),
            ("lag_positions", "Positions behind the log.", lambda at: at.lag),
            ("lag_seconds", "Age of the oldest event it does not know.", lambda at: at.lag_seconds),
            ("halted", "1: it met an event that it cannot fold.", lambda at: at.error is not None),
            ("paused", "1: somebody has paused it.", lambda at: at.paused),
            (
                "rebuilt",
                "The share of a rebuild that is done; 1 while none is under way.",
                lambda at: at.building[0] / max(at.building[1], 1) if at.building else 1,
            ),
        )
        for name, said, value in figures:
            family = GaugeMetricFamily(f"wangge_projection_{name}", said, labels=("projection",))
            for at in known:
                family.add_metric((at.name,), value(at))
            yield family
        ahead = GaugeMetricFamily(
            "wangge_clock_ahead_seconds", "By how much this clock is ahead of the database's."
        )
        ahead.add_metric((), self._gateway.clock_ahead())
        yield ahead
        yield from self._relays()

    def _relays(self) -> Iterable[Metric]:
        """How far the log was carried out, one sample a topic; nothing where it never was."""
        topics = self._gateway.carried()
        for name, said, value in (
            ("position", "How far the topic has the log.", attrgetter("position")),
            ("lag_positions", "Positions that the topic does not have.", attrgetter("lag")),
            ("lag_seconds", "Age of the oldest event it does not have.", attrgetter("lag_seconds")),
        ):
            family = GaugeMetricFamily(f"wangge_relay_{name}", said, labels=("topic",))
            for at in topics:
                family.add_metric((at.topic,), value(at))
            if topics:
                yield family
