"""Recorded outcomes: made-up ones always, real ones where the replay data is at hand."""

import gzip
import math
import os
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from cascade_batch.providers.scripted import ScriptedProvider, script_from

REPLAY = Path(
    os.environ.get("CASCADE_REPLAY_DIR", Path(__file__).parents[3] / "../shared/replay")
).resolve()


def outcome(text, logprob=None, output_tokens=1):
    return {"text": text, "input_tokens": 20, "output_tokens": output_tokens, "logprob": logprob}


RECORDING = [
    {
        "id": "a",
        "prompt": "Same?\n",
        "outcomes": {"small": outcome("A", -0.5), "large": outcome("B")},
    },
    {"id": "b", "prompt": "Same?", "outcomes": {"small": outcome("B", -0.1)}},
    {"id": "c", "prompt": "Other?", "outcomes": {"small": outcome("B", 0.0)}},
    {"id": "d", "prompt": "Long?", "outcomes": {"small": outcome("a long one", -2.0, 4)}},
]


@pytest.fixture(params=["r.jsonl", "r.jsonl.gz"])
def script(request, tmp_path):
    lines = b"\n".join(orjson.dumps(line) for line in RECORDING)
    (tmp_path / request.param).write_bytes(
        gzip.compress(lines) if request.param.endswith("gz") else lines
    )
    models = {
        "cheap": {"recording": request.param, "tier": "small", "price": {"input": 1, "output": 1}},
        "large": {"recording": request.param},
    }
    return script_from({"models": models}, folder=tmp_path)


async def test_outcomes_are_found_by_prompt_or_custom_id(client, script):
    async with ScriptedProvider(script) as provider:
        assert (await client.chat(provider, "Same? ", "cheap")).text == "A"
        assert (await client.chat(provider, "Same?", "cheap", user="b")).text == "B"
        seen = await client.chat(provider, "?", "cheap", metadata={"custom_id": "d"})
        assert seen.text == "a long one"
        assert seen.json()["usage"]["prompt_tokens"] == 20
        assert seen.json()["usage"]["completion_tokens"] == 4
        assert (await client.chat(provider, "Same?", "large")).text == "B"
        assert provider.bill()["total_nanousd"] == (21 + 21 + 24) * 1000
        seen = await client.chat(provider, "Long?", "large")
        assert seen.status == 400
        assert "no outcome of large" in seen.json()["error"]["message"]


async def test_what_is_left_of_the_probability_goes_to_the_other_recorded_answers(client, script):
    async with ScriptedProvider(script) as provider:

        async def top(prompt, model="cheap"):
            answer = await client.chat(provider, prompt, model, logprobs=True, top_logprobs=5)
            logprobs = answer.json()["choices"][0]["logprobs"]
            return logprobs and {
                entry["token"]: entry["logprob"] for entry in logprobs["content"][0]["top_logprobs"]
            }

        assert await top("Same?") == pytest.approx({"A": -0.5, "B": math.log(1 - math.exp(-0.5))})
        assert await top("Other?") == {"B": 0.0}
        assert await top("Long?") == {}
        assert await top("Same?", "large") is None, "this recording has no log-probabilities"


@pytest.mark.parametrize("name", ["mmlu", "triviaqa", "crux", "mmlu-pro"])
async def test_replayed_outcomes_cost_what_their_tokens_cost(client, name):
    if not REPLAY.is_dir():
        pytest.skip(f"no replay data in {REPLAY}; set CASCADE_REPLAY_DIR to have it replayed")
    about = orjson.loads((REPLAY / f"{name}.json").read_bytes())
    models = {
        tier["name"]: {
            "recording": str(REPLAY / f"{name}.jsonl.gz"),
            "price": {"input": tier["input_usd_per_mtok"], "output": tier["output_usd_per_mtok"]},
        }
        for tier in about["tiers"]
    }
    with gzip.open(REPLAY / f"{name}.jsonl.gz", "rb") as lines:
        rows = [orjson.loads(line) for line in lines][::97]
    expected_nanousd = 0
    async with ScriptedProvider(script_from({"models": models})) as provider:
        for row in rows:
            for tier in about["tiers"]:
                recorded = row["outcomes"][tier["name"]]
                seen = await client.chat(
                    provider, row["prompt"], tier["name"], logprobs=True, user=row["id"]
                )
                answer = seen.json()
                assert seen.text == recorded["text"]
                assert answer["usage"]["completion_tokens"] == recorded["output_tokens"]
                given = answer["choices"][0]["logprobs"]
                if recorded["logprob"] is None:
                    assert given is None
                else:
                    total = math.fsum(token["logprob"] for token in given["content"])
                    assert math.isclose(total, recorded["logprob"], abs_tol=1e-9)
                usd_per_mtok = (
                    Decimal(str(tier["input_usd_per_mtok"])) * recorded["input_tokens"]
                    + Decimal(str(tier["output_usd_per_mtok"])) * recorded["output_tokens"]
                )
                expected_nanousd += math.ceil(usd_per_mtok * 1000)
        assert provider.bill()["total_nanousd"] == expected_nanousd
