"""The OpenAI wire format: chat completions, and completions for base models.

Spoken by OpenAI and by most servers besides (vLLM, llama.cpp, Ollama, OpenRouter, Together, Groq,
Mistral, Gemini's compatible endpoint and so on), each with its own reading of it.
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlsplit

from cascade_batch.domain.answer import Reply
from cascade_batch.domain.job import Output
from cascade_batch.domain.money import PICOUSD_PER_TOKEN_PER_USD_PER_MTOK, Usage
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers.body import BodyParts, content_text, without_cache_marks
from cascade_batch.providers.reading import UnreadableError, finish_reason_of, is_count, storable
from cascade_batch.providers.structured import openai_response_format

CHAT_TOP_LOGPROBS = 20
COMPLETIONS_LOGPROBS = 5
"""The most that OpenAI gives for the two endpoints. `params: {top_logprobs: …}` asks for fewer, for
servers that refuse so many."""

_FINISH_REASONS = {
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "STOP": "stop",
    "SAFETY": "content_filter",
}
"""Other servers' words for OpenAI's."""


class OpenAIWire:
    """The OpenAI format for one tier."""

    def __init__(self, tier: Tier) -> None:
        self._is_chat = tier.endpoint == "chat"
        self.url = tier.url + ("/chat/completions" if self._is_chat else "/completions")
        self.family = f"openai {tier.endpoint}"
        self._tier = tier
        self._parts = BodyParts(self._variable, self._fixed)

    def headers(self, key: str | None) -> dict[str, str]:
        """A bearer token, where the tier has a key."""
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def body(self, prompt: Prompt, output: Output) -> bytes:
        """The request for a prompt."""
        return self._parts.join(prompt, output)

    def body_end(self, output: Output) -> bytes:
        """See `Provider.request_end`."""
        return self._parts.end(output)

    def reply(self, document: Any, latency_ms: float) -> Reply:
        """Read an answer; see `Wire.reply`."""
        choices = document.get("choices")
        if not choices:
            error = document.get("error")
            raise UnreadableError(
                f"the answer has no choices but an error: {error}" if error else _NO_CHOICES
            )
        choice = choices[0]
        finish_reason = finish_reason_of(choice.get("finish_reason"), _FINISH_REASONS)
        if finish_reason == "error" or choice.get("error"):
            raise UnreadableError(f"the model stopped half-way: {choice.get('error')}")
        message = choice["message"] if self._is_chat else choice
        text = content_text(message["content" if self._is_chat else "text"])
        refusal = message.get("refusal")
        logprobs, top_logprobs = _logprobs(choice.get("logprobs"))
        return Reply(
            text=storable(text or content_text(refusal)),
            finish_reason=finish_reason,
            usage=_usage(document.get("usage"), has_text=bool(text)),
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            latency_ms=latency_ms,
            refusal=bool(refusal) or finish_reason == "content_filter",
        )

    def _variable(self, prompt: Prompt) -> dict[str, Any]:
        if self._is_chat:
            return {"messages": without_cache_marks(prompt.messages)}
        return {"prompt": "\n".join(content_text(m.get("content")) for m in prompt.messages)}

    def _fixed(self, output: Output) -> dict[str, Any]:
        tier = self._tier
        fixed: dict[str, Any] = {"model": tier.model}
        host = urlsplit(tier.url).hostname or ""
        if self._is_chat:
            if tier.logprobs:
                fixed |= {"logprobs": True, "top_logprobs": CHAT_TOP_LOGPROBS}
            if output.json_schema is not None and tier.response_format:
                fixed["response_format"] = openai_response_format(output.json_schema)
            if _is_openai(host):
                # Without it the project's setting counts, which may be the dearer priority tier.
                fixed["service_tier"] = "default"
        elif tier.logprobs:
            fixed["logprobs"] = COMPLETIONS_LOGPROBS
        fixed |= tier.params
        # From here on what bounds the cost, which no parameter may override.
        fixed[tier.max_tokens_param or _cap_name(host, is_chat=self._is_chat)] = (
            tier.max_output_tokens
        )
        if host == "openrouter.ai" or host.endswith(".openrouter.ai"):
            fixed["provider"] = {**fixed.get("provider", {}), **_price_cap(tier)}
        return fixed


_LEAST_FLOAT = -sys.float_info.max
_NO_CHOICES = "the answer has no choices"


def _cap_name(host: str, *, is_chat: bool) -> str:
    """The parameter that bounds the answer's tokens, reasoning included.

    OpenAI's newer models refuse `max_tokens`, and OpenAI is the one whose chat endpoint is sure to
    know `max_completion_tokens` (Azure serves the same models). Everywhere else the older name is
    the safe one: a server that does not know a name passes over it, and the answer has no bound.
    A gateway in front of OpenAI's models is the exception, hence `max_tokens_param` on the tier.
    """
    if is_chat and (_is_openai(host) or host.endswith((".azure.com", ".azure-api.net"))):
        return "max_completion_tokens"
    return "max_tokens"


def _is_openai(host: str) -> bool:
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def _price_cap(tier: Tier) -> dict[str, Any]:
    """OpenRouter passes a request on to hosts with prices of their own; this keeps the dearer away.

    USD per million tokens. Nothing where the tier was not priced yet.
    """
    if tier.frozen_price is None:
        return {}
    steps = tier.frozen_price.steps
    return {
        "max_price": {
            "prompt": max(s.input_picousd for s in steps) / PICOUSD_PER_TOKEN_PER_USD_PER_MTOK,
            "completion": max(s.output_picousd for s in steps) / PICOUSD_PER_TOKEN_PER_USD_PER_MTOK,
        }
    }


def _usage(usage: Any, *, has_text: bool) -> Usage | None:
    """What was billed; None where the server does not say, or says what can't be.

    Some servers (Gemini's compatible endpoint, xAI) count reasoning outside of
    `completion_tokens`. So the output is whatever `total_tokens` holds beyond the input, and at
    least the reasoning on top where it is more than the completion that it should be a part of:
    counted once too often at worst, never left out.
    """
    if not isinstance(usage, dict):
        return None
    input_tokens = usage.get("prompt_tokens")
    completion = usage.get("completion_tokens")
    if not (is_count(input_tokens) and is_count(completion)):
        return None
    said = usage.get("completion_tokens_details")
    reasoning = _count(said.get("reasoning_tokens")) if isinstance(said, dict) else 0
    output_tokens = completion + reasoning if reasoning > completion else completion
    total = usage.get("total_tokens")
    if is_count(total):
        output_tokens = max(output_tokens, total - input_tokens)
    if not input_tokens or (has_text and not output_tokens) or not is_count(output_tokens):
        # No call is without input: a server that fills in zeros does not count.
        return None
    cached = written = 0
    asked = usage.get("prompt_tokens_details")
    if isinstance(asked, dict):
        cached = _count(asked.get("cached_tokens"))
        written = _count(asked.get("cache_write_tokens"))
    cached = min(cached or _count(usage.get("prompt_cache_hit_tokens")), input_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=min(written, input_tokens - cached),
        reasoning_tokens=min(reasoning, output_tokens),
    )


def _count(value: Any) -> int:
    return value if is_count(value) else 0


def _logprobs(found: Any) -> tuple[tuple[float, ...] | None, dict[str, float] | None]:
    """Both forms: chat's list of tokens, and the parallel lists of completions.

    llama.cpp answers completions in chat's form, so what is there decides, not the endpoint.
    """
    if not isinstance(found, dict):
        return None, None
    try:
        return _read_logprobs(found)
    except (AttributeError, LookupError, TypeError):
        # An answer is good without them, too.
        return None, None


def _read_logprobs(
    found: dict[str, Any],
) -> tuple[tuple[float, ...] | None, dict[str, float] | None]:
    content = found.get("content")
    if isinstance(content, list):
        first = content[0].get("top_logprobs") if content else None
        tokens = [token.get("logprob") for token in content]
        pairs = [(a.get("token"), a.get("logprob")) for a in first or ()]
        if content:
            pairs.append((content[0].get("token"), tokens[0]))
    else:
        tokens = found.get("token_logprobs") or []
        first = (found.get("top_logprobs") or [None])[0]
        pairs = list(first.items()) if isinstance(first, dict) else []
    if not tokens or not all(_is_logprob(value) for value in tokens):
        return None, None
    top = {storable(name): value for name, value in pairs if _is_logprob(value)}
    return tuple(tokens), (top if first else None)


def _is_logprob(value: Any) -> bool:
    # Comparing keeps NaN and minus infinity out, and whole numbers that no float holds.
    return isinstance(value, (int, float)) and _LEAST_FLOAT <= value <= 1e-3
