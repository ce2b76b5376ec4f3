"""Keys: read from the environment when they are needed, and kept out of everything that is shown."""

from __future__ import annotations

import os

from cascade_batch.domain.answer import RefusalKind, Refused
from cascade_batch.domain.tier import Tier
from cascade_batch.providers.reading import storable

MAX_MESSAGE_CHARS = 500


def read_key(tier: Tier) -> str | Refused | None:
    """The tier's key, None where it needs none, or a refusal that names the missing variable."""
    name = tier.api_key_env
    if name is None:
        return None
    # A line feed at the end is what reading a key from a file into a variable leaves behind.
    key = os.environ.get(name, "").strip()
    if not key:
        return Refused(
            RefusalKind.TIER,
            f"Tier {tier.name!r} needs a key, but the environment variable {name} is not set"
            " where the workers run.",
        )
    if not (key.isascii() and key.isprintable()):
        return Refused(
            RefusalKind.TIER,
            f"The key of tier {tier.name!r}, in the environment variable {name}, holds characters"
            " that can't be sent in an HTTP header.",
        )
    return key


def presentable(text: str, *secrets: str | None) -> str:
    """`text` on one line, without the secrets, cut to 500 characters.

    Servers echo what they were sent, keys too, and messages end up in tables and on screens.
    """
    # Cut last: a cut through a key would leave a part of it that no longer matches.
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[key]")
    text = " ".join(storable(text[: 20 * MAX_MESSAGE_CHARS]).split())
    if len(text) > MAX_MESSAGE_CHARS:
        text = text[: MAX_MESSAGE_CHARS - 1] + "…"
    return text
