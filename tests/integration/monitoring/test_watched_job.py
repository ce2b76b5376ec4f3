"""What an operator sees of a job: figures, lines, spans; and the dashboard that is made of the figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .conftest import JOB, ROWS, SECRET, Seen

GRAFANA = Path(__file__).parents[3] / "workers" / "grafana"
_NAME = re.compile(r"\bcascade_batch_\w+")


def test_figures_agree_with_the_status(seen: Seen):
    tiers = seen.status["tiers"]

    assert seen.status["status"] == "finished"
    for name, tier in tiers.items():
        of = {"job": JOB, "tier": name}
        assert seen.value("cascade_batch_calls_total", **of, outcome="answered") == tier["answers"]
        assert seen.value("cascade_batch_tokens_total", **of, kind="input") == tier["input_tokens"]
        assert (
            seen.value("cascade_batch_tokens_total", **of, kind="output") == tier["output_tokens"]
        )
        assert seen.value("cascade_batch_spent_usd_total", **of) == tier["spent_usd"]
        assert seen.value("cascade_batch_rows_escalated_total", **of) == tier["escalated"]
        assert seen.value("cascade_batch_call_latency_seconds_count", tier=name) == tier["answers"]
    assert seen.value("cascade_batch_rows_answered_total", job=JOB) == ROWS
    assert seen.value("cascade_batch_rows_failed", job=JOB) == 1
    assert seen.value("cascade_batch_budget_usd", job=JOB) == seen.status["budget_usd"]
    assert seen.value("cascade_batch_reserved_usd", job=JOB) == 0
    assert seen.value("cascade_batch_at_risk_usd", job=JOB) == 0
    assert seen.value("cascade_batch_chunks_queued", job=JOB) == 0
    assert seen.value("cascade_batch_waves_total", job=JOB) == seen.status["waves"]


def test_what_only_workers_know_is_shown(seen: Seen):
    errors = "cascade_batch_call_errors_total"

    assert seen.value(errors, job=JOB, tier="small", kind="row") == 1
    assert seen.value(errors, job=JOB, kind="rate_limit") >= 1
    assert seen.value("cascade_batch_rate_limit_waits_total") >= 1
    assert seen.value("cascade_batch_rate_limit_wait_seconds_total") > 0.5
    assert seen.value("cascade_batch_breaker_state", tier="small") == 0
    assert seen.value("cascade_batch_calls_in_flight") == 0
    assert seen.value("cascade_batch_turn_seconds_count") > 0
    assert seen.value("cascade_batch_plan_seconds_count") == seen.value("cascade_batch_plans_total")
    assert seen.value("cascade_batch_database_up") == 1
    assert seen.value("cascade_batch_sweeps_total") > 0


def test_labels_are_few_and_units_are_base_units(seen: Seen):
    labels = {name for sample in seen.samples for name in sample.labels}

    assert labels <= {"job", "tier", "outcome", "kind", "end", "state", "le"}
    assert not [s.name for s in seen.samples if re.search(r"_(ms|cents|nanousd|minutes)\b", s.name)]


def test_the_dashboard_shows_only_what_exists(seen: Seen):
    shown = {sample.name for sample in seen.samples}
    text = (GRAFANA / "dashboard.json").read_text()
    dashboard = json.loads(text)
    used = set(_NAME.findall(text))

    assert len(used) > 20
    assert used - shown == set()
    panels = [p for p in dashboard["panels"] if p["type"] != "row"]
    assert all(panel["targets"] for panel in panels)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def _lines(log: str) -> list[dict[str, object]]:
    # Celery says on standard output, to whoever pressed Ctrl-C, what it does about it.
    words = ("", "worker: Warm shutdown (MainProcess)")
    return [json.loads(line) for line in log.splitlines() if line not in words]


def test_every_line_is_json_whoever_wrote_it(seen: Seen):
    lines = _lines(seen.worker_log) + _lines(seen.sweeper_log)

    assert all({"message", "level", "logger", "timestamp"} <= line.keys() for line in lines)
    assert {str(line["logger"]).split(".")[0] for line in lines} >= {"cascade_batch", "celery"}


def test_a_chunks_story_is_one_line(seen: Seen):
    told = [line for line in _lines(seen.worker_log) if line["message"] == "chunk done"]
    first = [line for line in told if line["tier"] == "small"]

    assert {line["job"] for line in told} == {JOB}
    assert sum(line["answers"] for line in first) == seen.status["tiers"]["small"]["answers"]
    assert sum(line["rows"] for line in first) == ROWS + 1
    assert sum(line["refused"] for line in first) == 1
    assert len({line["chunk"] for line in told}) == len(told)
    assert all({"calls", "lost", "spent_usd", "seconds"} <= line.keys() for line in told)


def test_the_planner_says_for_which_job(seen: Seen):
    planned = [x for x in _lines(seen.worker_log) if x["logger"] == "cascade_batch.engine.plan"]

    assert planned
    assert {line["job"] for line in planned} == {JOB}


def test_keys_and_passwords_are_in_no_line(seen: Seen):
    assert SECRET not in seen.worker_log + seen.sweeper_log


def test_a_span_for_each_chunk_with_calls_as_events(seen: Seen):
    resources = [r for request in seen.requests for r in request.resource_spans]
    spans = [span for r in resources for scope in r.scope_spans for span in scope.spans]
    told = [line for line in _lines(seen.worker_log) if line["message"].startswith("chunk ")]
    names = {
        a.value.string_value
        for r in resources
        for a in r.resource.attributes
        if a.key == "service.name"
    }

    assert names == {"cascade-batch"}
    assert len(spans) == len(told)
    values = [{a.key: a.value for a in span.attributes} for span in spans]
    assert {v["cascade.chunk"].int_value for v in values} == {line["chunk"] for line in told}
    assert {v["cascade.job"].string_value for v in values} == {JOB}
    outcomes = {
        a.value.string_value for span in spans for e in span.events for a in e.attributes
        if a.key == "cascade.outcome"
    }  # fmt: skip
    assert outcomes == {"answered", "refused"}
    assert all(span.start_time_unix_nano < span.end_time_unix_nano for span in spans)
