"""What an operator sees of a job: figures, lines, spans; and the dashboard that is made of the figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from cascade_batch.monitoring.catalogue import METRICS, PREFIX

from .conftest import JOB, LATER, ROWS, SECRET, Seen, total
from .promql import labels_of, names_of, read

ROOT = Path(__file__).parents[3]
GRAFANA = ROOT / "workers" / "grafana"
DOCS = ROOT / "docs" / "monitoring.md"
_ROW = re.compile(r"^\| `(cascade_batch_\w+)` \| ([^|]*?) \|", re.MULTILINE)
_LEGEND = re.compile(r"\{\{(\w+)\}\}")
_VALUES = re.compile(r"label_values\((\w+), (\w+)\)")


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
    assert seen.value("cascade_batch_saved_usd_total", job=JOB) == seen.status["saved_usd"]
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


def test_totals_are_right_after_children_were_replaced_and_no_file_is_left(seen: Seen):
    answered = "cascade_batch_calls_total"

    for status, name in ((seen.status, JOB), (seen.later_status, LATER)):
        for tier, told in status["tiers"].items():
            of = {"job": name, "tier": tier}
            assert total(seen.later, answered, **of, outcome="answered") == told["answers"]
            assert total(seen.later, "cascade_batch_spent_usd_total", **of) == told["spent_usd"]
        saved = total(seen.later, "cascade_batch_saved_usd_total", job=name)
        assert saved == status["saved_usd"]
        assert total(seen.later, "cascade_batch_rows_answered_total", job=name) == ROWS
    assert total(seen.later, "cascade_batch_call_latency_seconds_count") == total(
        seen.later, answered, outcome="answered"
    )
    assert total(seen.later, "cascade_batch_calls_in_flight") == 0
    assert not seen.left_files


def test_every_metric_is_shown_and_documented_with_its_labels(seen: Seen):
    known = {name for metric in METRICS for name in names_of(metric)}
    documented = dict(_ROW.findall(DOCS.read_text()))

    assert {s.name for s in seen.samples if s.name.startswith(PREFIX)} == known
    assert documented == {
        metric.name: ", ".join(f"`{name}`" for name in metric.labels) for metric in METRICS
    }


def test_the_dashboard_asks_for_what_exists(seen: Seen):
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text())
    panels = [p for p in dashboard["panels"] if p["type"] != "row"]
    shown = {sample.name for sample in seen.samples}
    asked = set()
    for panel in panels:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            found = read(target["expr"])
            asked |= found.names
            assert found.names <= shown, panel["title"]
            assert set(_LEGEND.findall(target["legendFormat"])) <= found.labels, panel["title"]
    for variable in dashboard["templating"]["list"]:
        [(name, label)] = _VALUES.findall(variable["definition"])
        assert name in shown
        assert label in labels_of(name)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    # Nothing is counted that nobody looks at.
    assert {metric.name for metric in METRICS if not asked & set(names_of(metric))} == set()


def test_alerts_ask_for_what_exists_and_are_documented(seen: Seen):
    [group] = yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"]
    shown = {sample.name for sample in seen.samples}
    for rule in group["rules"]:
        found = read(rule["expr"])
        said = "".join(rule["annotations"].values())
        assert found.names <= shown, rule["alert"]
        assert set(re.findall(r"\$labels\.(\w+)", said)) <= found.labels, rule["alert"]
        assert f"`{rule['alert']}`" in DOCS.read_text()
        assert f"`{' '.join(rule['expr'].split())}`" in DOCS.read_text()


def test_questions_in_the_documentation_can_be_asked():
    section = DOCS.read_text().partition("### Questions")[2].partition("\n## ")[0]
    asked = re.findall(r"^\|[^|]*\| `([^`]*)` \|$", section, re.MULTILINE)

    assert len(asked) > 3
    for expression in asked:
        read(expression)


def test_flower_shows_job_tier_and_chunk_of_each_task_and_nothing_of_its_rows(seen: Seen):
    received = [e for e in seen.events if e["type"] == "task-received"]
    chunks = [e["kwargs"] for e in received if e["name"] == "cascade.run_chunk"]
    plans = {e["kwargs"] for e in received if e["name"] == "cascade.plan_job"}

    assert f"job={JOB} tier=small chunk=" in chunks[0]
    assert chunks[0].endswith("rows=0-29")
    assert plans == {f"job={JOB}", f"job={LATER}"}
    assert {e["args"] for e in received} == {""}
    results = {e["result"] for e in seen.events if e["type"] == "task-succeeded"}
    assert "'finished'" in results
    assert any(re.fullmatch(r"'\d+ chunks? done, \d+ calls?'", result) for result in results)
    everything = json.dumps(seen.events)
    assert "poison" not in everything
    assert "row 1" not in everything
    assert SECRET not in everything


def _lines(log: str) -> list[dict[str, object]]:
    # Celery says on standard output, to whoever pressed Ctrl-C, what it does about it.
    words = ("", "worker: Warm shutdown (MainProcess)")
    return [json.loads(line) for line in log.splitlines() if line not in words]


def test_every_line_is_json_whoever_wrote_it(seen: Seen):
    lines = _lines(seen.worker_log) + _lines(seen.sweeper_log)

    assert all({"message", "level", "logger", "timestamp"} <= line.keys() for line in lines)
    assert {str(line["logger"]).split(".")[0] for line in lines} >= {"cascade_batch", "celery"}


def test_a_chunks_story_is_one_line(seen: Seen):
    lines = [x for x in _lines(seen.worker_log) if x.get("job") == JOB]
    told = [line for line in lines if line["message"] == "chunk done"]
    first = [line for line in told if line["tier"] == "small"]

    assert sum(line["answers"] for line in first) == seen.status["tiers"]["small"]["answers"]
    assert sum(line["rows"] for line in first) == ROWS + 1
    assert sum(line["refused"] for line in first) == 1
    assert len({line["chunk"] for line in told}) == len(told)
    assert all({"calls", "lost", "spent_usd", "seconds"} <= line.keys() for line in told)


def test_the_planner_says_for_which_job(seen: Seen):
    planned = [x for x in _lines(seen.worker_log) if x["logger"] == "cascade_batch.engine.plan"]

    assert {line["job"] for line in planned} == {JOB, LATER}


def test_keys_and_passwords_are_in_no_line(seen: Seen):
    assert SECRET not in seen.worker_log + seen.sweeper_log


def test_a_span_for_each_chunk_and_within_it_for_its_calls(seen: Seen):
    resources = [r for request in seen.requests for r in request.resource_spans]
    spans = [span for r in resources for scope in r.scope_spans for span in scope.spans]
    told = [x["chunk"] for x in _lines(seen.worker_log) if x.get("job") == LATER and "chunk" in x]
    names = {
        a.value.string_value for r in resources for a in r.resource.attributes if a.key == "service.name"
    }  # fmt: skip
    values = {span.span_id: {a.key: a.value for a in span.attributes} for span in spans}
    chunks = {span.span_id: span for span in spans if not span.parent_span_id}
    calls = [span for span in spans if span.parent_span_id]

    assert names == {"cascade-batch"}
    # What the children that were killed had to tell may be lost with them.
    assert set(told) == {
        values[i]["cascade.chunk"].int_value
        for i in chunks
        if values[i]["cascade.job"].string_value == LATER
    }
    assert all("cascade.tier" in values[i] for i in chunks)
    outcomes = {values[span.span_id]["cascade.outcome"].string_value for span in calls}
    assert outcomes == {"answered", "refused"}
    for call in calls:
        chunk = chunks[call.parent_span_id]
        assert call.trace_id == chunk.trace_id
        assert call.start_time_unix_nano < call.end_time_unix_nano <= chunk.end_time_unix_nano
        for what in ("cascade.job", "cascade.tier", "cascade.chunk"):
            assert values[call.span_id][what] == values[chunk.span_id][what]
