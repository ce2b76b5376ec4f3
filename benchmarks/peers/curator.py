"""bespokelabs-curator: its `LLM` over a data set, by its own OpenAI client, with limits that don't bind."""

from __future__ import annotations

import logging
from types import SimpleNamespace

# First: it has curator's tokenizer look for its tables where litellm ships them, and not in the network.
import litellm.litellm_core_utils.default_encoding  # noqa: F401
from bespokelabs import curator

from benchmarks.peers.measured import measured, prompts
from benchmarks.questions import GOOD, MAX_OUTPUT_TOKENS, MODELS

_NO_LIMIT = 100_000_000


def _ask(given: SimpleNamespace) -> int:
    llm = curator.LLM(
        model_name=MODELS[0],
        backend="openai",
        generation_params={"max_tokens": MAX_OUTPUT_TOKENS},
        backend_params={
            "base_url": given.url,
            "max_requests_per_minute": _NO_LIMIT,
            "max_tokens_per_minute": 10 * _NO_LIMIT,
            "max_concurrent_requests": given.concurrency,
            "max_retries": 0,
        },
    )
    found = llm(prompts(given))
    return sum(one["response"] == GOOD for one in found.dataset)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    measured(_ask, ["bespokelabs-curator"])
