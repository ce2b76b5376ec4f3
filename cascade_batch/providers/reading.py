"""Reads answers whole, but never more of them than fits: a server must not be able to fill the memory."""

from __future__ import annotations

import json
import zlib
from typing import Any, TypeGuard

import orjson

MAX_BODY_BYTES = 32 * 2**20
"""Most that is read of an answer, packed or unpacked. Log-probabilities of 20 alternatives take about
2 KB a token, so this is room for some 16,000 tokens with them and for millions without."""

MAX_BRACKETS = 2_000_000
"""Most objects and lists of an answer (brackets in its texts count as well): 32 MiB of empty lists would
become a gigabyte. Log-probabilities of 16,000 tokens with 20 alternatives take 700,000."""

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class UnreadableError(Exception):
    """An answer that can't be read; its text says why. Never leaves this package."""


def unpacked(packed: bytes, encoding: str | None) -> bytes:
    """A body, unpacked.

    Args:
        encoding: Its Content-Encoding.

    Raises:
        UnreadableError: It is too large, cut off, or packed in a way that can't be unpacked.
    """
    return packed if encoding is None else _unpacked(packed, encoding.strip().lower())


def _unpacked(packed: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return packed
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnreadableError(f"the answer is packed as {encoding!r}, which was not asked for")
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        unpacked = unpacker.decompress(packed, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise UnreadableError(f"the answer can't be unpacked: {error}") from None
    if len(unpacked) > MAX_BODY_BYTES:
        raise too_large()
    if not unpacker.eof:
        raise UnreadableError("the packed answer is cut off")
    return unpacked


def parse_json(body: bytes) -> Any:
    """The JSON value of a body.

    Raises:
        UnreadableError: It is no JSON, or one of far too many parts.
    """
    if len(body) > MAX_BRACKETS and body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
        raise UnreadableError(f"the answer holds more than {MAX_BRACKETS:,} objects and lists")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    # Some servers write NaN or -Infinity for a log-probability, or half a surrogate pair into a
    # text, which only the lenient parser reads. The answer is paid for: worth a second try.
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        start = " ".join(body[:200].decode("utf-8", "replace").split())
        raise UnreadableError(
            f"the answer is no JSON; it begins with: {start}" if start else "the answer is empty"
        ) from None


def storable(text: str) -> str:
    """The text with what no database holds replaced: NUL, and halves of surrogate pairs."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def finish_reason_of(found: Any, words: dict[str, str]) -> str | None:
    """A finish reason in OpenAI's words, where another format has its own; None if there is none."""
    return words.get(found, storable(found[:64])) if isinstance(found, str) else None


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value can be a number of tokens; keeps what a database column can't hold out, too."""
    return type(value) is int and 0 <= value < 2**31


def too_large() -> UnreadableError:
    """What is wrong with an answer of more than `MAX_BODY_BYTES`."""
    return UnreadableError(f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB")
