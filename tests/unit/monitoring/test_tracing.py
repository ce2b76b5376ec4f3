"""Spans of chunks and their calls, as an exporter gets them."""

from __future__ import annotations

import time

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused, Reply, Unknown
from cascade_batch.domain.money import Usage
from cascade_batch.ledger import Lease
from cascade_batch.monitoring.observer import Observer, Story
from cascade_batch.monitoring.tracing import MOST_ANSWERS, Tracing, tracing_from_environment

USAGE = Usage(input_tokens=12, output_tokens=3)
ANSWER = Answered(Reply("secret words of a row", usage=USAGE, latency_ms=200))


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def observer(exporter: InMemorySpanExporter) -> Observer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Observer(None, Tracing(provider))


def opened(observer: Observer, chunk: int, *, rows: int = 3) -> Story:
    lease = Lease(
        chunk_id=chunk, job_id=1, tier_no=0, wave=2, fence=1, turn_no=0,
        row_from=0, row_to=rows - 1, row_nos=None,
    )  # fmt: skip
    return observer.opened(lease, job="news", tier="small", rows=rows)


def end(observer: Observer, story: Story, *outcomes: Outcome) -> None:
    assert observer.ended is not None
    now = time.monotonic()
    observer.ended += [(story, outcome, now - 0.2, now) for outcome in outcomes]


def spans(exporter: InMemorySpanExporter, prefix: str) -> list[ReadableSpan]:
    return [s for s in exporter.get_finished_spans() if s.name.startswith(prefix)]


def test_a_chunk_names_job_tier_chunk_and_what_became_of_it(observer, exporter):
    story = opened(observer, 7)
    end(observer, story, ANSWER)
    observer.left(story, "done")
    [chunk] = spans(exporter, "chunk")

    assert chunk.name == "chunk small"
    assert chunk.parent is None
    assert chunk.attributes is not None
    assert chunk.attributes.items() >= {
        "cascade.job": "news", "cascade.tier": "small", "cascade.chunk": 7,
        "cascade.rows": 3, "cascade.wave": 2, "cascade.end": "done", "cascade.spent_usd": 0.0,
    }.items()  # fmt: skip
    assert chunk.status.status_code is StatusCode.UNSET


def test_calls_are_below_their_own_chunk(observer, exporter):
    """Two chunks at once, their calls mixed."""
    stories = {number: opened(observer, number) for number in (7, 8)}
    for _ in range(2):
        for story in stories.values():
            end(observer, story, ANSWER)
    observer.turned(0.01)
    for story in stories.values():
        observer.left(story, "done")
    chunks = {s.attributes["cascade.chunk"]: s for s in spans(exporter, "chunk")}
    calls = spans(exporter, "call")

    assert len(calls) == 4
    for call in calls:
        chunk = chunks[call.attributes["cascade.chunk"]]
        assert call.parent.span_id == chunk.context.span_id
        assert call.context.trace_id == chunk.context.trace_id
        assert call.attributes["cascade.job"] == "news"
        assert call.attributes["cascade.input_tokens"] == 12
        assert call.start_time < call.end_time <= chunk.end_time
    assert len({chunk.context.trace_id for chunk in chunks.values()}) == 2


def test_what_went_wrong_is_marked_without_keys_and_without_rows(observer, exporter, monkeypatch):
    monkeypatch.setenv("SMALL_API_KEY", "canary-7f3e9a51")
    story = opened(observer, 7)
    end(
        observer,
        story,
        Refused(RefusalKind.TIER, "HTTP 401: no such key: canary-7f3e9a51", status=401),
        Unknown("timeout", "no answer in 60 s"),
        ANSWER,
    )
    observer.left(story, "lost")
    refused, unknown, answered = spans(exporter, "call")

    assert refused.status.status_code is StatusCode.ERROR
    assert refused.status.description == "HTTP 401: no such key: ***"
    assert refused.attributes["http.response.status_code"] == 401
    assert (refused.attributes["cascade.outcome"], refused.attributes["cascade.kind"]) == (
        "refused", "tier",
    )  # fmt: skip
    assert unknown.attributes["cascade.kind"] == "timeout"
    assert answered.status.status_code is StatusCode.UNSET
    [chunk] = spans(exporter, "chunk")
    assert chunk.status.status_code is StatusCode.ERROR
    assert "secret words" not in "".join(s.to_json() for s in exporter.get_finished_spans())


def test_of_a_large_chunk_a_sample_is_kept_and_all_of_its_errors(observer, exporter):
    story = opened(observer, 7, rows=2000)
    end(observer, story, *[ANSWER] * 1990, *[Unknown("timeout", "late")] * 10)
    observer.left(story, "done")
    outcomes = [span.attributes["cascade.outcome"] for span in spans(exporter, "call")]

    assert MOST_ANSWERS - 1 <= outcomes.count("answered") <= MOST_ANSWERS
    assert outcomes.count("unknown") == 10


def test_nothing_is_traced_unless_it_is_asked_for(monkeypatch):
    for name in ("TRACES_EXPORTER", "EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    assert tracing_from_environment() is None
    assert Observer(None, None).ended is None
