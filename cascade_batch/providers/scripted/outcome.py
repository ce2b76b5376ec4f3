"""What a client gets for a call, and what it is billed: the answer, as the fault spoils it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, auto

from cascade_batch.providers.scripted.bill import Usage
from cascade_batch.providers.scripted.faults import REFUSALS, FaultKind, FaultRule
from cascade_batch.providers.scripted.said import Said, token_count
from cascade_batch.providers.scripted.wire import Ask, Format, write_answer, write_error

_HTML = b"<!doctype html><title>Welcome</title><p>Please log in to the network."
_DECLINED = "I'm sorry, but I can't help with that."
_DEFAULT_HUGE_BYTES = 64 * 2**20
_DEFAULT_DRIP_S = 5.0
_ELSEWHERE = "/elsewhere"
"""Not served: whoever follows a redirect shows up in `not_routed`."""
_CODES = {
    307: "redirected",
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class Delivery(Enum):
    """How the bytes reach the client."""

    WHOLE = auto()
    DRIP = auto()
    CUT = auto()
    RESET_AFTER_HEADERS = auto()
    RESET = auto()
    HANG = auto()


_DELIVERIES = {
    FaultKind.HANG: Delivery.HANG,
    FaultKind.RESET: Delivery.RESET,
    FaultKind.RESET_AFTER_HEADERS: Delivery.RESET_AFTER_HEADERS,
    FaultKind.CUT_BODY: Delivery.CUT,
    FaultKind.SLOW_DRIP: Delivery.DRIP,
}
_STATUS_UNSENT = {Delivery.HANG, Delivery.RESET}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is sent.

    Attributes:
        headers: Further header lines, each ended.
        usage: What is billed; None: nothing.
        is_answer: The body is a model's answer, however bad.
        filler_bytes: Blanks sent after the body, as part of it.
        drip_s: Time that a body takes that is sent in pieces.
    """

    status: int
    body: bytes
    usage: Usage | None = None
    is_answer: bool = False
    headers: bytes = b""
    content_type: bytes = b"application/json"
    delivery: Delivery = Delivery.WHOLE
    filler_bytes: int = 0
    drip_s: float = 0.0

    @property
    def status_sent(self) -> int | None:
        """The status as far as the client gets to see one."""
        return None if self.delivery in _STATUS_UNSENT else self.status


def refused(
    format_: Format, status: int, message: str, *, retry_after_s: float | None = None
) -> Outcome:
    """A complete refusal.

    Args:
        retry_after_s: Sent exactly in `retry-after-ms` and in whole seconds, rounded up, in
            `Retry-After`, as HTTP wants it.
    """
    code = _CODES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    headers = b""
    if retry_after_s is not None:
        headers = b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (
            math.ceil(retry_after_s),
            math.ceil(retry_after_s * 1000),
        )
    return Outcome(status, write_error(format_, message, code), headers=headers)


def answered(ask: Ask, said: Said, usage: Usage, seq: int) -> Outcome:
    """A good answer."""
    return Outcome(
        200, write_answer(ask, said, usage, seq, int(time.time())), usage, is_answer=True
    )


def spoiled(ask: Ask, said: Said, usage: Usage, seq: int, fault: FaultRule) -> Outcome:
    """The answer, or what is left of it, under a fault."""
    if fault.kind in REFUSALS:
        outcome = _refusal(ask, fault)
    elif fault.kind is FaultKind.HTML_200:
        outcome = Outcome(200, _HTML, content_type=b"text/html")
    elif fault.kind is FaultKind.ERROR_200:
        outcome = Outcome(200, write_error(ask.format, "The upstream failed.", "server_error"))
    else:
        said, usage = _changed(ask, said, usage, fault)
        reported = None if fault.kind is FaultKind.NO_USAGE else usage
        body = write_answer(ask, said, reported, seq, int(time.time()))
        outcome = Outcome(200, body, is_answer=True)
    return replace(
        outcome,
        usage=usage if fault.is_billed else None,
        delivery=_DELIVERIES.get(fault.kind, Delivery.WHOLE),
        filler_bytes=_filler_bytes(fault, len(outcome.body)),
        drip_s=_DEFAULT_DRIP_S if fault.duration_s is None else fault.duration_s,
    )


def _refusal(ask: Ask, fault: FaultRule) -> Outcome:
    status = fault.status or REFUSALS[fault.kind]
    message = f"The script refuses this call: {fault.kind}."
    outcome = refused(ask.format, status, message, retry_after_s=fault.retry_after_s)
    if fault.kind is FaultKind.REDIRECT:
        location = (fault.location or _ELSEWHERE).encode()
        return replace(outcome, headers=b"location: %b\r\n" % location)
    return outcome


def _changed(ask: Ask, said: Said, usage: Usage, fault: FaultRule) -> tuple[Said, Usage]:
    """The answer and its usage, as far as the fault changes what the model does."""
    match fault.kind:
        case FaultKind.WRONG_USAGE:
            usage = usage.times(Decimal(1) if fault.factor is None else fault.factor)
        case FaultKind.EMPTY_ANSWER:
            said = replace(said, text="")
        case FaultKind.CONTENT_FILTER:
            said = replace(said, text="", finish_reason="content_filter")
        case FaultKind.REFUSAL:
            said = Said(_DECLINED, token_count(len(_DECLINED)), refusal=True)
            usage = replace(usage, output_tokens=usage.reasoning_tokens + said.output_tokens)
        case FaultKind.TRUNCATED_ANSWER:
            half = said.text[: len(said.text) // 2]
            said, usage = (
                replace(said, text=half, finish_reason="length"),
                _to_the_limit(ask, usage),
            )
        case FaultKind.HANG:
            usage = _to_the_limit(ask, usage)
    return said, usage


def _to_the_limit(ask: Ask, usage: Usage) -> Usage:
    """The usage of a model that went on until `max_tokens`."""
    return usage if ask.max_tokens is None else replace(usage, output_tokens=ask.max_tokens)


def _filler_bytes(fault: FaultRule, body_bytes: int) -> int:
    if fault.kind is not FaultKind.HUGE_BODY:
        return 0
    wanted = _DEFAULT_HUGE_BYTES if fault.size_bytes is None else fault.size_bytes
    return max(0, wanted - body_bytes)
