"""Whatever dies while a job runs: it ends by itself, within its budget, with every row answered.

Every blow is dealt alone, and in combinations that a seed makes: which, and after how many calls.
`CASCADE_CHAOS_RUNS` says how many seeds to try, `CASCADE_CHAOS_SEED` where to begin.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from benchmarks.rig import Rig, provider, rig, wait_until, write_rows, write_tiers
from cascade_batch.dispatch.app import make_app
from cascade_batch.dispatch.publisher import CeleryPublisher
from cascade_batch.engine.chunks import notice
from cascade_batch.local.stack import Services, stack_status
from cascade_batch.settings import Settings

ROWS = 600
LEASE_S = 3
FIRST_SEED = int(os.environ.get("CASCADE_CHAOS_SEED", "0"))
RUNS = int(os.environ.get("CASCADE_CHAOS_RUNS", "2"))
Blow = Callable[[Rig, random.Random], None]
_PRICES = {"small": {"call": 0.0001}, "large": {"call": 0.002}}


def _kill_one_worker(one: Rig, chance: random.Random) -> None:
    _signal(chance.sample(one.workers(), 1), signal.SIGKILL)


def _kill_all_workers(one: Rig, _chance: random.Random) -> None:
    _signal(one.workers(), signal.SIGKILL)


def _kill_planner(one: Rig, _chance: random.Random) -> None:
    _signal([p for name, p in one.parts().items() if "control" in name], signal.SIGKILL)


def _stop_workers_softly(one: Rig, _chance: random.Random) -> None:
    _signal(one.workers(), signal.SIGTERM)


def _freeze_beyond_the_lease(one: Rig, _chance: random.Random) -> None:
    frozen = one.workers()
    _signal(frozen, signal.SIGSTOP)
    # The lease runs out by the database's clock: what tells is that its chunks are free or taken again.
    held = "SELECT count(*) AS n FROM cascade_store.chunk WHERE state = 'leased' AND owner = ANY"
    owners = one.json("sql", "SELECT array_agg(owner) AS o FROM cascade_store.chunk")
    names = [name for name in owners[0]["o"] or [] if name]
    if names:
        listed = ", ".join(f"'{name}'" for name in names)
        wait_until(
            lambda: one.json("sql", f"{held} (ARRAY[{listed}])")[0]["n"] == 0,
            "the frozen workers' leases run out",
        )
    _signal(frozen, signal.SIGCONT)


def _kill_broker(one: Rig, _chance: random.Random) -> None:
    _signal([p for name, p in one.parts().items() if "valkey" in name], signal.SIGKILL)


def _kill_database(one: Rig, _chance: random.Random) -> None:
    _signal([p for name, p in one.parts().items() if "postgres" in name], signal.SIGKILL)


def _empty_broker(one: Rig, _chance: random.Random) -> None:
    """Every message is lost, and every limit's count."""
    redis.Redis.from_url(_services(one).redis_url).flushall()


def _deliver_ten_times(one: Rig, _chance: random.Random) -> None:
    """Planners at once, and messages for chunks that are done, open, or never were."""
    services = _services(one)
    publisher = CeleryPublisher(make_app(services.redis_url))
    chunks = one.json(
        "sql",
        "SELECT chunk_id, tier_name, row_from, row_to, row_count FROM cascade_store.chunk"
        " ORDER BY chunk_id DESC LIMIT 20",
    )
    chunks += [{**chunk, "chunk_id": chunk["chunk_id"] + 10_000} for chunk in chunks[:2]]
    notices = [notice("chaos", chunk["chunk_id"], {**chunk, "row_nos": None}) for chunk in chunks]
    for _ in range(10):
        publisher.publish_plan("chaos")
        publisher.publish_chunks(notices)
    publisher.publish_plan("a job that was deleted")


def _services(one: Rig) -> Services:
    home = Path(one.environment["CASCADE_HOME"])
    services = stack_status(Settings(database_url=None, redis_url=None, home=home)).services
    assert services is not None
    return services


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


BLOWS = [
    _kill_one_worker,
    _kill_all_workers,
    _kill_planner,
    _stop_workers_softly,
    _freeze_beyond_the_lease,
    _kill_broker,
    _kill_database,
    _empty_broker,
    _deliver_ten_times,
]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("blow", BLOWS, ids=lambda blow: blow.__name__.strip("_"))
def test_a_job_survives_each_blow_alone(blow: Blow) -> None:
    _run(random.Random(FIRST_SEED), [(0.3, blow)])


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + RUNS))
def test_a_job_survives_its_machinery(seed: int) -> None:
    chance = random.Random(seed)
    shares = sorted(chance.uniform(0.05, 0.9) for _ in range(chance.randint(1, 3)))
    _run(chance, [(share, chance.choice(BLOWS)) for share in shares])


def _run(chance: random.Random, blows: list[tuple[float, Blow]]) -> None:
    """A job that is dealt these blows, each after so many calls as a share of its rows."""
    seed = chance.randrange(10**6)
    script = {
        "seed": seed,
        "models": {
            name: {
                "price": price,
                "latency_ms": 60,
                "simulate": {"choices": ["up", "down"], "accuracy": 0.8},
            }
            for name, price in _PRICES.items()
        },
        "faults": [
            {"kind": "reset", "probability": 0.01},
            {"kind": "server_error", "probability": 0.02},
            {"kind": "rate_limit", "probability": 0.01},
        ],
    }
    with rig(CASCADE_LEASE_S=str(LEASE_S), CASCADE_LOCAL_WORKERS="2") as one:
        write_rows(one, [{"prompt": f"Is row {n:06} up or down?"} for n in range(ROWS)])
        with provider(one, script) as server:
            tiers = [
                {
                    "name": name,
                    "model": name,
                    "base_url": server.url,
                    "price": price,
                    "max_output_tokens": 4,
                    "logprobs": True,
                    "timeout_s": 5,
                    "limits": {"concurrency": 30},
                }
                for name, price in _PRICES.items()
            ]
            write_tiers(one, tiers)
            # Room for the drafts, for what the blows may put at risk, and for some escalations.
            one.run(
                "submit", "data.jsonl", "--name", "chaos", "--budget", "0.5", "--detach",
                "--chunk-rows", "50", "--output", "{choices: [up, down]}",
            )  # fmt: skip
            for share, blow in blows:
                wait_until(
                    lambda s=share: server.bill()["calls_billed"] >= s * ROWS,
                    "the job gets that far",
                )
                blow(one, chance)
            # While the database starts up, a command can't reach it; the job needs no command to go on.
            wait_until(lambda: one.call("watch", "chaos").returncode == 0, "the job is over")
            status = one.status("chaos")
            bill = server.bill()
        assert one.run("audit", "chaos").startswith("OK")
    assert status["status"] == "finished"
    assert status["rows"]["answered"] == ROWS
    assert bill["total_nanousd"] <= status["budget_nanousd"]
    assert bill["total_nanousd"] <= status["spent_nanousd"] + status["at_risk_nanousd"]
    assert status["reserved_nanousd"] == 0
