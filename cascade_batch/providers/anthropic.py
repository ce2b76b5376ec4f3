"""The Anthropic wire format: messages. It gives no log-probabilities."""

from __future__ import annotations

import re
from typing import Any

from cascade_batch.domain.answer import Reply
from cascade_batch.domain.job import Output
from cascade_batch.domain.money import Usage
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.providers.body import BodyParts, content_text, without_cache_marks
from cascade_batch.providers.reading import UnreadableError, finish_reason_of, is_count, storable
from cascade_batch.providers.structured import anthropic_output_config

API_VERSION = "2023-06-01"

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Anthropic's stop reasons in OpenAI's words."""

_SYSTEM_ROLES = frozenset({"system", "developer"})
_DATA_URL = re.compile(r"data:(?P<media_type>[^;,]+);base64,(?P<data>.*)\Z", re.DOTALL)


class AnthropicWire:
    """The Anthropic format for one tier."""

    family = "anthropic"

    def __init__(self, tier: Tier) -> None:
        self.url = tier.url + "/messages"
        self._tier = tier
        self._parts = BodyParts(_variable, self._fixed)

    def headers(self, key: str | None) -> dict[str, str]:
        """The key, where the tier has one, and the version of the format."""
        headers = {"anthropic-version": API_VERSION}
        return headers if key is None else headers | {"x-api-key": key}

    def body(self, prompt: Prompt, output: Output) -> bytes:
        """The request for a prompt."""
        return self._parts.join(prompt, output)

    def body_end(self, output: Output) -> bytes:
        """See `Provider.request_end`."""
        return self._parts.end(output)

    def reply(self, document: Any, latency_ms: float) -> Reply:
        """Read an answer; see `Wire.reply`."""
        if document.get("type") == "error" or "content" not in document:
            raise UnreadableError(f"the answer has no content but {document.get('error')}")
        text = storable(content_text(document["content"]))
        stop_reason = document.get("stop_reason")
        return Reply(
            text=text,
            finish_reason=finish_reason_of(stop_reason, _FINISH_REASONS),
            usage=_usage(document.get("usage"), has_text=bool(text)),
            latency_ms=latency_ms,
            refusal=stop_reason == "refusal",
        )

    def _fixed(self, output: Output) -> dict[str, Any]:
        tier = self._tier
        fixed: dict[str, Any] = {"model": tier.model, **tier.params}
        if output.json_schema is not None and tier.response_format:
            output_config = anthropic_output_config(output.json_schema)
            if output_config is not None:
                fixed["output_config"] = output_config | tier.params.get("output_config", {})
        # Last, as it bounds the cost: no parameter may override it.
        fixed["max_tokens"] = tier.max_output_tokens
        return fixed


def _variable(prompt: Prompt) -> dict[str, Any]:
    messages = without_cache_marks(prompt.messages)
    system = "\n\n".join(
        content_text(message.get("content"))
        for message in messages
        if message.get("role") in _SYSTEM_ROLES
    )
    others = [
        message if isinstance(message.get("content"), str) else _with_blocks(message)
        for message in messages
        if message.get("role") not in _SYSTEM_ROLES
    ]
    return {"system": system, "messages": others} if system else {"messages": others}


def _with_blocks(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return message | {"content": [_block(part) for part in content]}


def _block(part: Any) -> Any:
    """An image in OpenAI's form becomes one in Anthropic's, so that both can stand on one ladder."""
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return part
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    match = _DATA_URL.match(url) if isinstance(url, str) else None
    source = {"type": "base64", **match.groupdict()} if match else {"type": "url", "url": url}
    return {"type": "image", "source": source}


def _usage(usage: Any, *, has_text: bool) -> Usage | None:
    """What was billed; None where the server does not say, or says what can't be.

    Anthropic counts input read from and written to its cache beside `input_tokens`; here both are
    parts of the input. Thinking is a part of `output_tokens` already.
    """
    if not isinstance(usage, dict):
        return None
    output_tokens = usage.get("output_tokens")
    plain = usage.get("input_tokens")
    cached = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    if not (is_count(plain) and is_count(cached) and is_count(written) and is_count(output_tokens)):
        return None
    input_tokens = plain + cached + written
    if not input_tokens or (has_text and not output_tokens) or not is_count(input_tokens):
        # No call is without input: a server that fills in zeros does not count.
        return None
    details = usage.get("output_tokens_details")
    thinking = details.get("thinking_tokens") if isinstance(details, dict) else 0
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=min(thinking, output_tokens) if is_count(thinking) else 0,
    )
