"""What the README promises, in short: through the command line, with a provider that keeps its own bill."""

from __future__ import annotations

import pytest

from benchmarks.budgets import run_budgets
from benchmarks.kill import run_kill
from benchmarks.race import WORKERS, run_race
from benchmarks.recordings import RecordingsMissingError, load
from benchmarks.rig import rig

CONCURRENCY = 50


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_more_money_buys_better_answers_and_never_costs_more_than_it() -> None:
    try:
        recording = load("mmlu", limit=300)
    except RecordingsMissingError as missing:
        pytest.skip(str(missing))
    with rig() as one:
        runs = run_budgets(one, recording)
    for run in runs:
        assert run.answered == run.rows == 300
        assert run.bill_nanousd == run.spent_nanousd <= run.budget_nanousd
        assert run.billed_calls == run.calls
        assert run.audit.startswith("OK")
    cheapest = sum(
        recording.score(q["id"], recording.tiers[0]["name"]) for q in recording.questions
    )
    assert runs[0].accuracy > cheapest / 300
    # Nobody labels this job, and two runs that differ on thirty of 300 rows differ by chance by some five.
    by_chance = 0.02
    assert runs[0].accuracy <= runs[1].accuracy + by_chance
    assert runs[1].accuracy <= runs[2].accuracy + by_chance


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_workers_and_a_failing_provider_keep_within_one_budget_and_use_it() -> None:
    with rig(CASCADE_LOCAL_WORKERS=str(WORKERS)) as one:
        run = run_race(one, 400)
    assert run.answered == run.rows
    assert run.bill_nanousd <= run.budget_nanousd
    assert run.bill_nanousd <= run.spent_nanousd + run.at_risk_nanousd
    assert run.unspent_nanousd < run.escalation_worst_nanousd
    assert 0 < run.escalations_bought < run.escalations_wanted
    assert run.audit.startswith("OK")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killing_every_worker_costs_no_answer_and_buys_none_twice_that_was_not_in_flight() -> None:
    with rig(CASCADE_LEASE_S="3") as one:
        run = run_kill(one, 1500, concurrency=CONCURRENCY)
    assert run.killed_processes >= 2
    assert run.answered == run.rows
    assert run.answered_at_kill < run.rows
    assert run.bill_nanousd <= run.budget_nanousd
    assert run.bill_nanousd <= run.spent_nanousd + run.at_risk_nanousd
    assert run.paid_twice <= run.in_flight_at_kill
    assert run.audit.startswith("OK")
