"""One run: a stack, a provider, a job that is dealt blows, and the verdict."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.rig import Rig, provider, rig, write_rows, write_tiers
from tests.chaos.blows import BLOWS, Strike
from tests.chaos.scene import LEASE_S, PATIENCE_S, Scene, Witness, family, send, services_of
from tests.chaos.witness import Figures, Struck, look, report

IS_LONG = "CASCADE_CHAOS_RUNS" in os.environ
"""Whether everything is tried, as `make chaos` does; otherwise as much as a few minutes allow."""
ROWS = 1000
BUDGET_USD = "0.5"
KEEP_VARIABLE = "CASCADE_CHAOS_KEEP"
"""Names a folder that gets the logs of the runs that fail."""
_CONCURRENCY = 12
_LATENCY_MS = 25
_PRICES = {"small": {"call": 0.0001}, "large": {"call": 0.001}}
_LOOK_AGAIN_S = 0.05

FAULTS: Sequence[Mapping[str, Any]] = (
    {"kind": "reset", "probability": 0.01},
    {"kind": "reset_after_headers", "probability": 0.01},
    {"kind": "cut_body", "probability": 0.01},
    {"kind": "server_error", "probability": 0.03},
    {"kind": "rate_limit", "probability": 0.02},
    {"kind": "rate_limit", "probability": 0.01, "retry_after_s": 0.2},
    {"kind": "bad_request", "probability": 0.01, "model": "small"},
    {"kind": "no_usage", "probability": 0.02},
    {"kind": "html_200", "probability": 0.01},
    {"kind": "error_200", "probability": 0.01},
    {"kind": "empty_answer", "probability": 0.02},
    {"kind": "truncated_answer", "probability": 0.02},
    {"kind": "content_filter", "probability": 0.01},
    {"kind": "refusal", "probability": 0.01},
    {"kind": "slow_drip", "probability": 0.01, "duration_s": 0.5},
    {"kind": "hang", "probability": 0.003},
)
"""What a provider may do to any run."""


def run(seed: int, blows: Sequence[tuple[float, str]], *, faults: int | None = None) -> Figures:
    """A job that is dealt these blows, each after so many calls as a share of its rows.

    Args:
        seed: Of everything that is left to chance.
        faults: How many kinds of the provider's faults there are; None: left to chance.

    Raises:
        AssertionError: Something that is promised is not so.
    """
    chance = random.Random(seed)
    count = chance.randint(0, 4) if faults is None else faults
    said = script(chance.randrange(10**6), chance.sample(FAULTS, count))
    job = f"seed {seed}"
    with _stack() as one, provider(one, said) as server, contextlib.ExitStack() as prepared:
        write_rows(one, [{"prompt": f"Is row {n:06} up or down?"} for n in range(ROWS)])
        write_tiers_of(one, server.url)
        one.run("up")
        services = services_of(one)
        witness = Witness(services.database_url)
        prepared.callback(witness.close)
        scene = Scene(one, server, chance, job, services, witness)
        try:
            strikes = [(s, name, prepared.enter_context(BLOWS[name](scene))) for s, name in blows]
            figures = _deal(scene, seed, strikes)
        except BaseException:
            _keep_logs(one, job)
            raise
        report(figures)
        if figures.problems:
            _keep_logs(one, job)
        assert not figures.problems
        return figures


def _deal(scene: Scene, seed: int, strikes: Sequence[tuple[float, str, Strike]]) -> Figures:
    scene.rig.run(
        "submit", "data.jsonl", "--name", scene.job, "--budget", BUDGET_USD, "--detach",
        "--chunk-rows", "50", "--output", "{choices: [up, down]}",
    )  # fmt: skip
    submitted_at = time.time()
    struck: list[Struck] = []
    missed: list[str] = []
    for share, name, strike in strikes:
        scene.wait(
            lambda s=share: scene.server.bill()["calls_billed"] >= s * ROWS, "the job gets that far"
        )
        began_at = time.time()
        if not scene.is_over() and strike():
            after_s, lasted_s = began_at - submitted_at, time.time() - began_at
            struck.append(Struck(name, began_at, after_s, lasted_s))
        else:
            missed.append(name)
    ends = time.monotonic() + PATIENCE_S
    while not scene.is_over():
        assert time.monotonic() < ends, (
            f"the job does not end: {scene.rig.run('status', scene.job)}"
        )
        time.sleep(_LOOK_AGAIN_S)
    return look(scene, seed, struck, missed)


def script(seed: int, faults: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Of a provider with a cheap model and a dear one."""
    return {
        "seed": seed,
        "models": {
            name: {
                "price": price,
                "latency_ms": _LATENCY_MS,
                "simulate": {"choices": ["up", "down"], "accuracy": 0.8},
            }
            for name, price in _PRICES.items()
        },
        "faults": list(faults),
    }


def write_tiers_of(one: Rig, url: str) -> None:
    """`tiers.yaml` of this provider, and `nowhere.yaml`, where nobody listens."""
    for file, base_url in (("tiers.yaml", url), ("nowhere.yaml", "http://127.0.0.1:9/v1")):
        tiers = [
            {
                "name": name, "model": name, "base_url": base_url, "price": price,
                "max_output_tokens": 4, "logprobs": True, "timeout_s": 3,
                "limits": {"concurrency": _CONCURRENCY},
            }
            for name, price in _PRICES.items()
        ]  # fmt: skip
        write_tiers(one, tiers, file)


@contextlib.contextmanager
def _stack() -> Iterator[Rig]:
    """One of its own, so that a seed finds what it found before; at the end, nobody is waited for."""
    settings = {"CASCADE_LEASE_S": str(LEASE_S), "CASCADE_LOCAL_WORKERS": "2"}
    with rig(in_memory=True, **settings) as one:
        try:
            yield one
        finally:
            # Whoever starts the others again first; Postgres by its immediate shutdown, which leaves nothing.
            parts = one.parts()
            supervisor, database = parts.pop("supervisor", None), parts.pop("postgres", None)
            send([supervisor] if supervisor else [], signal.SIGKILL)
            send(family(parts.values()), signal.SIGKILL)
            gone = [database] if database else []
            send(gone, signal.SIGQUIT)
            psutil.wait_procs(gone, timeout=PATIENCE_S)


def _keep_logs(one: Rig, job: str) -> None:
    folder = os.environ.get(KEEP_VARIABLE)
    if folder:
        shutil.copytree(
            one.folder, Path(folder) / job.replace(" ", "-"), dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("postgres", "data.jsonl", "run"),
        )  # fmt: skip
