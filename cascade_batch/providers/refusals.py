"""What a complete answer with an error status means: who is refused, and for how long.

The kind decides what stands still: the row, the tier for a while, or the job. Taking a fault of
one row for one of the tier stops a job for nothing; the other way round, every row of the job
fails by itself. Where a status leaves it open, the body decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from cascade_batch.domain.answer import RefusalKind, Refused
from cascade_batch.providers.retry_after import retry_after_s

_TIER_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_not_active",
        "billing_hard_limit_reached",
        "account_deactivated",
        "invalid_api_key",
        "api_key_invalid",
        "model_not_found",
        "unsupported_parameter",
        "unknown_parameter",
        "unsupported_value",
    }
)
"""Codes that concern the account or what the tier sends with every row, whatever the status: 429 and
400 are used for some of them."""

_TIER_WORDS = re.compile(
    r"credit balance is too low|api key not valid|is not a valid model", re.IGNORECASE
)
"""For the servers that answer 400 without a code for it."""

_CONTENT_WORDS = re.compile(
    r"content[ _-]?(filter|polic|manag|violat|moderat)|moderation|flagged|usage guidelines"
    r"|usage polic|responsible ?ai|safety|inappropriate content|data[ _]inspection",
    re.IGNORECASE,
)

_AGAIN = frozenset({408, 409, 425, 498})
"""Not the row's fault and gone by itself: time-outs, conflicts, and (498) no capacity left."""


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refused:
    """Read a complete answer with a status of 300 or more.

    The message is the server's own words; it is neither shortened nor cleared of keys here.
    """
    if status < 400:
        where = headers.get("Location", "another address")
        return Refused(
            RefusalKind.TIER,
            f"HTTP {status}: the server points to {where}. Redirects are not followed, as the key"
            " would go along; set base_url to the server's final address.",
            status,
        )
    document = _parsed(body)
    said = " ".join(_words(document)) or body.decode("utf-8", "replace")
    codes = {code.lower() for code in _codes(document)}
    if any(_is_about_messages(error) for error in _errors(document)):
        codes -= _TIER_CODES
    kind = _kind(status, codes, said)
    return Refused(
        kind, f"HTTP {status}: {said or 'no reason given'}", status, _wait(kind, headers)
    )


def _kind(status: int, codes: set[str], said: str) -> RefusalKind:
    if codes & _TIER_CODES or (status == 400 and _TIER_WORDS.search(said)):
        return RefusalKind.TIER
    if status == 429:
        return RefusalKind.RATE_LIMIT
    if status >= 500 or status in _AGAIN:
        return RefusalKind.SERVER
    if status in (401, 402):
        return RefusalKind.TIER
    if status in (403, 404):
        about_content = _CONTENT_WORDS.search(" ".join(codes)) or _CONTENT_WORDS.search(said)
        return RefusalKind.ROW if about_content else RefusalKind.TIER
    return RefusalKind.ROW


def _wait(kind: RefusalKind, headers: Mapping[str, str]) -> float | None:
    if kind is RefusalKind.RATE_LIMIT:
        return retry_after_s(headers, limited=True)
    if kind is RefusalKind.SERVER:
        return retry_after_s(headers, limited=False)
    return None


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _errors(document: Any) -> Iterator[Any]:
    """The objects in which servers put what went wrong: `error`, `detail`, or the document itself."""
    if isinstance(document, list):
        document = document[0] if document else None
    if not isinstance(document, dict):
        return
    for key in ("error", "detail", "errors"):
        value = document.get(key)
        if isinstance(value, list):
            yield from value
        elif value is not None:
            yield value
    yield document


def _words(document: Any) -> Iterator[str]:
    for error in _errors(document):
        words = error
        if isinstance(error, dict):
            words = error.get("message") or error.get("msg")
        if isinstance(words, str) and words:
            yield words
            return


def _codes(document: Any) -> Iterator[str]:
    for error in _errors(document):
        if isinstance(error, dict):
            inner = error.get("innererror")
            for holder in (error, inner if isinstance(inner, dict) else {}):
                for key in ("code", "type", "status", "reason"):
                    if isinstance(holder.get(key), str):
                        yield holder[key]
            metadata = error.get("metadata")
            if isinstance(metadata, dict) and "flagged_input" in metadata:
                yield "flagged"


def _is_about_messages(error: Any) -> bool:
    param = error.get("param") if isinstance(error, dict) else None
    return isinstance(param, str) and param.startswith(("messages", "prompt", "input"))
