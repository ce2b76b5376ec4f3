"""What a server does in a test, in words that every kind of server can act on."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Trouble(StrEnum):
    """What goes wrong. `NONE` is a good answer."""

    NONE = "none"
    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    REDIRECT = "redirect"
    HANG = "hang"
    RESET = "reset"
    RESET_AFTER_HEADERS = "reset_after_headers"
    CUT_BODY = "cut_body"
    TRUNCATED_ANSWER = "truncated_answer"
    NO_USAGE = "no_usage"
    HTML_200 = "html_200"
    ERROR_200 = "error_200"
    EMPTY_ANSWER = "empty_answer"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    SLOW_DRIP = "slow_drip"
    HUGE_BODY = "huge_body"
    # From here on only the loopback server knows what to do.
    CUT_REFUSAL = "cut_refusal"
    EMPTY_BODY = "empty_body"
    ENDLESS_BODY = "endless_body"
    GZIP = "gzip"
    GZIP_BOMB = "gzip_bomb"
    GZIP_CUT = "gzip_cut"
    UNKNOWN_ENCODING = "unknown_encoding"
    NOT_A_NUMBER = "not_a_number"
    ECHO_KEY = "echo_key"
    EARLY_REFUSAL = "early_refusal"


@dataclass(frozen=True, slots=True)
class Scene:
    """An answer and what goes wrong with it."""

    trouble: Trouble = Trouble.NONE
    text: str = "up"
    output_tokens: int = 1
    reasoning_tokens: int = 0
    cached_input_tokens: int = 0
    logprob: float = -0.25
    alternatives: tuple[tuple[str, float], ...] = (("down", -2.0),)
    status: int | None = None
    retry_after_s: int | None = None
    location: str = ""
    duration_s: float = 0.2


class Served(Protocol):
    """A server at work."""

    @property
    def url(self) -> str:
        """The tier's `base_url`."""
        ...

    def calls(self) -> int:
        """Requests received so far."""
        ...


class ServerKind(Protocol):
    """A kind of server that the suite runs against."""

    def plays(self, scene: Scene, wire: dict[str, Any]) -> bool:
        """Whether this kind can act this scene in this wire format (keys of a tier)."""
        ...

    def serve(self, scene: Scene) -> AbstractAsyncContextManager[Served]:
        """A server that acts the scene for every request."""
        ...
