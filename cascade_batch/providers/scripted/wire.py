"""The three request formats as one question, and answers in the format that the question came in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from cascade_batch.providers.scripted.bill import Usage
from cascade_batch.providers.scripted.said import Said

_TOKENS_PER_PART_WITHOUT_TEXT = 1000
"""An image or a file in a prompt: far more tokens than its reference has bytes."""


class Format(StrEnum):
    """Whose words are spoken; the value is the path below `/v1`."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"
    MESSAGES = "/v1/messages"


FORMATS: dict[bytes, Format] = {format_.value.encode(): format_ for format_ in Format}


class Unreadable(Exception):  # noqa: N818 - the client's fault, answered with a 400
    """The request asks for nothing that could be answered; the message says why."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question.

    Attributes:
        prompt: Text of the last user message.
        prompt_key: Identity of the whole prompt, system text included.
        input_bytes: Bytes of all its texts.
        extra_tokens: Tokens of what is no text.
        custom_id: `metadata.custom_id` or `user`, where it is sent.
        top_logprobs: How many alternatives to the first token are asked for.
    """

    format: Format
    model: str
    prompt: str
    prompt_key: bytes
    input_bytes: int
    extra_tokens: int
    max_tokens: int | None
    custom_id: str | None
    logprobs: bool
    top_logprobs: int


def read_ask(format_: Format, body: bytes) -> Ask:
    """Read a request.

    Raises:
        Unreadable: It is no JSON, lacks what every request needs, or asks for streaming or several
            answers, which this server does not give.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"The body is no JSON: {error}.") from None
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise Unreadable("The body must be an object that names a model.")
    if request.get("stream"):
        raise Unreadable("stream is not supported: answers are sent whole.")
    if request.get("n") not in (1, None):
        raise Unreadable("n must be 1: one answer per call.")
    messages = _messages_of(format_, request)
    texts, extra_tokens, prompt = _texts_of(messages)
    joined = "\x1e".join(texts).encode()
    logprobs, top_logprobs = _logprobs_asked(format_, request)
    return Ask(
        format=format_,
        model=request["model"],
        prompt=prompt,
        prompt_key=hashlib.blake2b(joined, digest_size=8).digest(),
        # The separators are no part of the prompt; a role and its text have one between them each.
        input_bytes=sum(len(text.encode()) for text in texts[1::2]),
        extra_tokens=extra_tokens,
        max_tokens=_max_tokens(format_, request),
        custom_id=_custom_id(request),
        logprobs=logprobs,
        top_logprobs=top_logprobs,
    )


def write_answer(ask: Ask, said: Said, usage: Usage | None, seq: int, created_s: int) -> bytes:
    """An answer's body.

    Args:
        usage: As reported; None: left out.
        seq: Number of the call, which makes the answer's id.
        created_s: Seconds of the epoch.
    """
    if ask.format is Format.MESSAGES:
        return orjson.dumps(_anthropic_answer(ask, said, usage, seq))
    wants_logprobs = ask.logprobs and said.logprob is not None
    choice: dict[str, Any] = {"index": 0, "finish_reason": said.finish_reason}
    if ask.format is Format.CHAT:
        choice["message"] = {
            "role": "assistant",
            "content": None if said.refusal else said.text,
            "refusal": said.text if said.refusal else None,
        }
        choice["logprobs"] = _chat_logprobs(ask, said) if wants_logprobs else None
    else:
        choice["text"] = said.text
        choice["logprobs"] = _completion_logprobs(ask, said) if wants_logprobs else None
    is_chat = ask.format is Format.CHAT
    answer: dict[str, Any] = {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{seq}",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": created_s,
        "model": ask.model,
        "choices": [choice],
    }
    if usage is not None:
        answer["usage"] = {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        }
    return orjson.dumps(answer)


def write_error(format_: Format, message: str, code: str) -> bytes:
    """An error's body."""
    if format_ is Format.MESSAGES:
        return orjson.dumps({"type": "error", "error": {"type": code, "message": message}})
    error = {"message": message, "type": code, "param": None, "code": code}
    return orjson.dumps({"error": error})


def _messages_of(format_: Format, request: dict[str, Any]) -> list[dict[str, Any]]:
    if format_ is Format.COMPLETIONS:
        prompt = request.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise Unreadable("prompt must be a text: one answer per call.")
        return [{"role": "user", "content": prompt}]
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Unreadable("messages must be a list with at least one message.")
    if not all(isinstance(message, dict) for message in messages):
        raise Unreadable("messages must hold objects with role and content.")
    if format_ is Format.MESSAGES and request.get("system"):
        return [{"role": "system", "content": request["system"]}, *messages]
    return messages


def _texts_of(messages: list[dict[str, Any]]) -> tuple[list[str], int, str]:
    """Roles and texts in turn, tokens of what is no text, and the last user message's text."""
    texts: list[str] = []
    extra_tokens = 0
    prompt: str | None = None
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if isinstance(content, str):
            text = content
        else:
            text, parts_without_text = _text_of_parts(content)
            extra_tokens += parts_without_text * _TOKENS_PER_PART_WITHOUT_TEXT
        texts += (str(role), text)
        if role == "user":
            prompt = text
    return texts, extra_tokens, texts[-1] if prompt is None else prompt


def _text_of_parts(content: Any) -> tuple[str, int]:
    if content is None:
        return "", 0
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise Unreadable("A message's content must be a text or a list of parts.")
    texts = [part["text"] for part in content if isinstance(part.get("text"), str)]
    return "".join(texts), len(content) - len(texts)


def _max_tokens(format_: Format, request: dict[str, Any]) -> int | None:
    value = request.get("max_completion_tokens")
    if value is None:
        value = request.get("max_tokens")
    if value is None and format_ is not Format.MESSAGES:
        return None
    if not isinstance(value, int) or value < 1:
        raise Unreadable("max_tokens must be a whole number of at least 1.")
    return value


def _custom_id(request: dict[str, Any]) -> str | None:
    metadata = request.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("custom_id"), str):
        return str(metadata["custom_id"])
    user = request.get("user")
    return user if isinstance(user, str) else None


def _logprobs_asked(format_: Format, request: dict[str, Any]) -> tuple[bool, int]:
    asked = request.get("logprobs")
    top = asked if format_ is Format.COMPLETIONS else request.get("top_logprobs")
    if not isinstance(top or 0, int):
        raise Unreadable("The number of top log-probabilities must be a whole number.")
    if format_ is Format.COMPLETIONS:
        return asked is not None and asked is not False, int(top or 0)
    return asked is True, int(top or 0)


def _top(ask: Ask, said: Said, logprob: float) -> list[tuple[str, float]]:
    """Candidates of a one-token answer's token, likeliest first."""
    if said.output_tokens != 1 or not ask.top_logprobs:
        return []
    candidates = [(said.text, logprob), *said.alternatives]
    return sorted(candidates, key=lambda pair: -pair[1])[: ask.top_logprobs]


def _chat_logprobs(ask: Ask, said: Said) -> dict[str, Any]:
    pieces, logprobs = said.pieces(), said.piece_logprobs()
    content = [
        {**_token(piece, logprob), "top_logprobs": []}
        for piece, logprob in zip(pieces, logprobs, strict=True)
    ]
    if len(content) == 1:
        content[0]["top_logprobs"] = [_token(*pair) for pair in _top(ask, said, logprobs[0])]
    return {"content": content, "refusal": None}


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _completion_logprobs(ask: Ask, said: Said) -> dict[str, Any]:
    pieces, logprobs = said.pieces(), said.piece_logprobs()
    offsets = [0]
    for piece in pieces[:-1]:
        offsets.append(offsets[-1] + len(piece))
    top: list[dict[str, float]] = [{} for _ in pieces]
    if len(pieces) == 1:
        top[0] = dict(_top(ask, said, logprobs[0]))
    return {
        "tokens": pieces,
        "token_logprobs": logprobs,
        "top_logprobs": top if ask.top_logprobs else None,
        "text_offset": offsets if pieces else [],
    }


_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}


def _anthropic_answer(ask: Ask, said: Said, usage: Usage | None, seq: int) -> dict[str, Any]:
    reason = "refusal" if said.refusal else _STOP_REASONS[said.finish_reason]
    answer: dict[str, Any] = {
        "id": f"msg_{seq}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [{"type": "text", "text": said.text}] if said.text else [],
        "stop_reason": reason,
        "stop_sequence": None,
    }
    if usage is not None:
        answer["usage"] = {
            "input_tokens": usage.input_tokens - usage.cached_input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": usage.cached_input_tokens,
            "output_tokens": usage.output_tokens,
        }
    return answer
