"""Whatever a provider does: its own bill stays within the budget and within what the ledger knows of.

Each fault strikes a third of the calls to the cheap tier of a job on the whole stack. The witness is the
provider's bill, which `audit --bill` is held against. All of them are tried by `make chaos`, some everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.rig import Rig, provider, rig, wait_until, write_rows, write_tiers
from tests.chaos.runs import IS_LONG

ROWS = 60
BUDGET_USD = "0.5"
_PRICES = {"small": {"call": 0.0001}, "large": {"call": 0.002}}
FAULTS = {
    "429 with a time to wait": {"kind": "rate_limit", "retry_after_s": 0.05},
    "429 without one": {"kind": "rate_limit"},
    "500": {"kind": "server_error"},
    "503 at every first call": {
        "kind": "server_error",
        "status": 503,
        "first": 1,
        "probability": 1,
    },
    "a tier is out for a while": {"kind": "server_error", "until_s": 4, "probability": 1},
    "400": {"kind": "bad_request"},
    "404": {"kind": "not_found"},
    "redirect": {"kind": "redirect", "location": "http://127.0.0.1:9/"},
    "hang": {"kind": "hang", "probability": 0.1},
    "reset": {"kind": "reset"},
    "reset after headers": {"kind": "reset_after_headers"},
    "cut body": {"kind": "cut_body"},
    "truncated": {"kind": "truncated_answer"},
    "thrice the usage": {"kind": "wrong_usage", "factor": 3},
    "no usage": {"kind": "no_usage"},
    "a web page": {"kind": "html_200"},
    "an error with status 200": {"kind": "error_200"},
    "empty": {"kind": "empty_answer"},
    "content filter": {"kind": "content_filter"},
    "refusal": {"kind": "refusal"},
    "slow drip": {"kind": "slow_drip", "duration_s": 1},
    "100 MB": {"kind": "huge_body", "bytes": 100_000_000, "probability": 0.05},
}
# A server that does not know the model, or sends elsewhere, is set up wrongly: the job stops and says so.
SET_UP_WRONGLY = ("404", "redirect")
SHORT = ("429 with a time to wait", "reset", "thrice the usage", "redirect")
TRIED = FAULTS if IS_LONG else SHORT


@pytest.fixture(scope="module")
def stack() -> Iterator[Rig]:
    with rig(CASCADE_LEASE_S="5") as one:
        write_rows(one, [{"prompt": f"Is row {n:03} up or down?"} for n in range(ROWS)])
        yield one


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", TRIED)
def test_a_job_survives_what_a_provider_does(stack: Rig, name: str) -> None:
    script = {
        "seed": 7,
        "models": {
            model: {
                "price": price,
                "latency_ms": 5,
                "simulate": {"choices": ["up", "down"], "accuracy": 0.8},
            }
            for model, price in _PRICES.items()
        },
        "faults": [{"model": "small", "probability": 0.33, **FAULTS[name]}],
    }
    job = f"job {name}"
    with provider(stack, script) as server:
        tiers = [
            {
                "name": model, "model": model, "base_url": server.url, "price": price,
                "max_output_tokens": 4, "timeout_s": 2,
            }
            for model, price in _PRICES.items()
        ]  # fmt: skip
        write_tiers(stack, tiers)
        stack.run(
            "submit", "data.jsonl", "--name", job, "--budget", BUDGET_USD, "--detach",
            "--chunk-rows", "20", "--output", "{choices: [up, down]}",
        )  # fmt: skip
        wait_until(lambda: stack.status(job)["status"] not in ("queued", "running"), "the end")
        bill = server.bill()
    status = stack.status(job)
    assert bill["models"]["small"]["faults"], "the fault struck"
    if name in SET_UP_WRONGLY:
        assert status["status"] == "failed"
        assert "refuses every call" in status["reason"]
    else:
        assert status["status"] == "finished", status["reason"]
        assert status["rows"]["answered"] == ROWS, "another tier answers what the first did not"
    assert status["reserved_nanousd"] == 0
    assert bill["total_nanousd"] <= status["budget_nanousd"]
    total_usd = f"{bill['total_nanousd'] / 1e9:.9f}"
    assert stack.run("audit", job, "--bill", total_usd).startswith("OK")
