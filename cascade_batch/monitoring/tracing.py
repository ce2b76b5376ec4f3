"""Traces, if they are switched on: a span for each chunk, and within it one for some of its calls.

Switched on by OpenTelemetry's own variables: OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT), or
OTEL_TRACES_EXPORTER=otlp or console; the SDK reads the others (service name, headers, sampler). Needs
`pip install cascade-batch[otel]`; without a switch, nothing of it is imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cascade_batch.monitoring.logs import masked

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

logger = logging.getLogger(__name__)

MOST_ANSWERS = 32
"""Answered calls per chunk that become spans: a sample, spread over the chunk."""
MOST_ERRORS = 64
"""Calls per chunk without an answer that do."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

Attributes = Mapping[str, str | int | float]


class Tracing:
    """Makes spans; one per process, made after the fork."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("cascade_batch")

    def start(self, name: str, attributes: Attributes) -> Span:
        """Begin a span; whether it is kept is for the sampler to say."""
        return self._tracer.start_span(name, attributes=attributes)

    def note(
        self,
        name: str,
        attributes: Attributes,
        *,
        within: Span,
        times_ns: tuple[int, int],
        trouble: str | None,
    ) -> None:
        """Add a span of what is over, below another one.

        Args:
            times_ns: When it began and ended, since 1970.
            trouble: What went wrong; None: nothing.
        """
        from opentelemetry.trace import set_span_in_context

        began_ns, ended_ns = times_ns
        span = self._tracer.start_span(
            name, set_span_in_context(within), attributes=attributes, start_time=began_ns
        )
        if trouble is not None:
            mark_failed(span, trouble)
        span.end(ended_ns)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def mark_failed(span: Span, why: str) -> None:
    """Say that what the span stands for went wrong; keys that a provider quotes are masked."""
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, masked(why)))


def tracing_from_environment() -> Tracing | None:
    """What the environment asks for; None: nothing."""
    kind = _wanted_exporter()
    if kind is None:
        return None
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _exporter(kind)
    except ImportError as error:
        logger.warning(
            "traces are asked for (OTEL_…), but OpenTelemetry is not installed (%s):"
            " pip install 'cascade-batch[otel]'",
            error,
        )
        return None
    is_named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = TracerProvider(
        resource=Resource.create({} if is_named else {"service.name": "cascade-batch"}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def _wanted_exporter() -> str | None:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    named = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if named in ("otlp", "console"):
        return named
    if named:
        if named != "none":
            logger.warning("OTEL_TRACES_EXPORTER is %r; known are otlp, console and none", named)
        return None
    return "otlp" if any(os.environ.get(name) for name in _ENDPOINTS) else None


def _exporter(kind: str) -> SpanExporter:
    if kind == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
