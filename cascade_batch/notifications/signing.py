"""Signatures as Standard Webhooks 1.0.0 has them: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from cascade_batch.errors import UsageError

PREFIX = "whsec_"
LEAST_SECRET_BYTES = 24


def read_secrets(text: str, variable: str) -> list[bytes]:
    """The keys that a variable holds: one, or several with blanks between while one replaces another.

    Args:
        text: Each `whsec_` and the key in base64; without that prefix the text itself is the key.
        variable: Its name, for messages; what it holds is never repeated.

    Raises:
        UsageError: There is none, one is no base64, or one is too short.
    """
    keys = [_key(part, variable) for part in text.split()]
    if not keys:
        raise UsageError(f"The environment variable {variable} holds no secret.")
    for key in keys:
        if len(key) < LEAST_SECRET_BYTES:
            raise UsageError(
                f"The secret in the environment variable {variable} has {len(key)} bytes, and needs"
                f" {LEAST_SECRET_BYTES} at least.",
                hint='Make one: echo "whsec_$(openssl rand -base64 32)"',
            )
    return keys


def sign(keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: a signature by each key.

    Args:
        timestamp: When it is sent, in seconds of Unix time.
    """
    signed = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _key(part: str, variable: str) -> bytes:
    if not part.startswith(PREFIX):
        return part.encode()
    try:
        return base64.b64decode(part[len(PREFIX) :], validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(
            f"The secret in the environment variable {variable} begins with {PREFIX}, and what follows is no"
            " base64."
        ) from None
