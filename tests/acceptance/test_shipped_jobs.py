"""The jobs that are shipped do what their READMEs say, on the scripted providers that they bring along."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from subprocess import run
from typing import Any

import psycopg
import pytest

from benchmarks.rig import Rig
from cascade_batch.providers.scripted import ScriptedProvider, load_script

JOBS = Path(__file__).parents[2] / "jobs"
_ADDRESS = "http://127.0.0.1:8377/v1"
ROWS = {"headlines-openai": 360, "help-desk": 30, "invoices": 60, "quiz": 64, "rehearsal": 120}


@asynccontextmanager
async def submitted(user: Rig, job: str) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """What `submit` printed and said, and the provider's bill, when the job is over."""
    folder = JOBS / job
    tiers = "tiers.yaml" if job == "rehearsal" else "tiers-scripted.yaml"
    data = ["data.rehearsal.jsonl"] if job == "rehearsal" else []
    async with ScriptedProvider(load_script(folder / "script.yaml")) as provider:
        own = user.folder / f"tiers.{job}.yaml"
        text = (folder / tiers).read_text("utf-8")
        assert _ADDRESS in text
        own.write_text(text.replace(_ADDRESS, provider.url), "utf-8")
        process = user.start(
            "submit", *data, "--job", str(folder), "--tiers", own.name, "--name", job
        )
        out, said = await asyncio.to_thread(process.communicate)
        yield out, said, provider.bill()


def query(user: Rig, text: str) -> list[tuple[Any, ...]]:
    url = user.services().database_url.partition("://")[2]
    with psycopg.connect(f"postgresql://{url}") as connection:
        return connection.execute(text.encode()).fetchall()


@pytest.fixture(scope="module")
def ends(user: Rig) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """All of them, at the same time."""
    rows = user.folder / "data.rehearsal.jsonl"
    generate = JOBS / "rehearsal" / "generate.py"
    count = str(ROWS["rehearsal"])
    run([sys.executable, generate, "--rows", count, "--out", rows], check=True)

    async def together() -> dict[str, tuple[str, str, dict[str, Any]]]:
        async with AsyncExitStack() as stack:
            started = [stack.enter_async_context(submitted(user, job)) for job in ROWS]
            return dict(zip(ROWS, await asyncio.gather(*started), strict=True))

    return asyncio.run(together())


@pytest.mark.parametrize("job", list(ROWS))
def test_every_row_is_answered_within_the_budget_and_the_bill_is_what_was_recorded(
    user: Rig, ends: dict[str, Any], job: str
) -> None:
    out, said, bill = ends[job]
    assert out == f"{job}\n", said
    (row,) = query(
        user,
        "SELECT status, rows_total, rows_answered, spent_usd * 10^9, at_risk_usd * 10^9, budget_usd * 10^9"
        f" FROM cascade.jobs WHERE job = '{job}'",
    )
    state, total, answered, spent, at_risk, budget = row
    assert (state, total, answered) == ("finished", ROWS[job], ROWS[job])
    assert spent <= bill["total_nanousd"] <= spent + at_risk <= budget
    if job != "rehearsal":  # the others' providers have no faults
        assert (bill["total_nanousd"], at_risk) == (spent, 0)
        assert not bill["calls_unreadable"]


@pytest.mark.parametrize("job", ["headlines-openai", "help-desk", "invoices", "quiz"])
def test_the_queries_of_the_readmes_give_rows(user: Rig, ends: Any, job: str) -> None:
    readme = (JOBS / job / "README.md").read_text("utf-8")
    queries = re.findall(r"cascade-batch sql (['\"])(.+?)\1", readme)
    assert queries
    for _, text in queries:
        assert query(user, text.replace("results.headlines ", 'results."headlines-openai" ')), text


def test_the_headlines_show_a_cascade_and_how_good_it_is(user: Rig, ends: Any) -> None:
    """Two out of three drafts and more are right: these count, and the money goes to the others."""
    counted = dict(
        query(
            user,
            "SELECT tier, count(*) FROM cascade.results WHERE job = 'headlines-openai' GROUP BY tier",
        )
    )
    assert min(counted.get("small", 0), counted.get("large", 0)) >= ROWS["headlines-openai"] / 5
    ((quality, spent, budget),) = query(
        user,
        "SELECT quality, spent_usd, budget_usd FROM cascade.jobs WHERE job = 'headlines-openai'",
    )
    assert quality is not None
    assert 0.8 < quality < 1
    assert 0 < spent <= budget
    (labelled,) = query(
        user,
        'SELECT count(*), avg((value = label)::int), count(quality) FROM results."headlines-openai"'
        " WHERE label IS NOT NULL",
    )
    assert labelled[0] >= 150
    assert labelled[1] > 0.85  # of small's drafts three quarters are
    assert labelled[2] == labelled[0]


def test_what_is_found_in_the_letters_is_typed(user: Rig, ends: Any) -> None:
    found = query(
        user, "SELECT invoice_no, total, currency, due FROM results.invoices ORDER BY row_no"
    )
    assert all(re.fullmatch(r"INV-\d{4}", number) for number, *_ in found)
    assert all(total > 0 for _, total, *_ in found)


def test_the_judge_turned_down_what_was_made_up(user: Rig, ends: Any) -> None:
    turned_down = query(
        user,
        "SELECT a.answer FROM cascade.verdicts v JOIN cascade.answers a USING (job, row_no, tier)"
        " WHERE job = 'help-desk' AND NOT v.passed",
    )
    assert len(turned_down) > 3
    kept = {answer for (answer,) in query(user, 'SELECT answer FROM results."help-desk"')}
    assert len(kept & {answer for (answer,) in turned_down}) < len(turned_down) / 2
