"""What tells that two questions are the same one: keys of requests, and fingerprints of tiers.

A request consists of what it says of the row and of what it says to every row. The first is hashed once for
all tiers that are asked in the same words (`RowBounds` measures requests so, too): the row's key. The
second, with the wire format, the address and the declared output, is the tier's fingerprint. Where both are
equal, the very same bytes would go to the very same address: model, rendered messages, parameters, token
limit, schema and the wish for log-probabilities are all in them. Keys, limits and time-outs are not, as no
answer depends on them.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import orjson
from numpy.typing import NDArray

from cascade_batch.domain.job import Output
from cascade_batch.domain.tier import Tier
from cascade_batch.providers import Providers

KEY_BYTES = 16
_ODD = np.uint64(0x9E3779B97F4A7C15)
"""An odd number: multiplying by it keeps different numbers different."""

Rows = NDArray[np.int64]


def request_key(body: bytes, end_bytes: int) -> bytes:
    """Hash of a request without what every request of its tier ends with."""
    return blake2b(memoryview(body)[: len(body) - end_bytes], digest_size=KEY_BYTES).digest()


def fingerprint(providers: Providers, tier: Tier, output: Output) -> bytes | None:
    """Hash of all that determines a tier's answers beside the row; None where that can't be known.

    The declared output counts as a whole, although a server is told of a schema alone: values and the
    log-probabilities of choices were read by it.
    """
    answerer = providers.answerer(tier)
    if answerer is None:
        return None
    declared = orjson.dumps(output.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    digest = blake2b(digest_size=KEY_BYTES)
    for part in (tier.api.encode(), answerer, providers.request_end(tier, output), declared):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


class SameRows:
    """Finds rows that are the same question and are judged alike: 16 bytes for each row, and a sort."""

    def __init__(self) -> None:
        self._keys = bytearray()
        self._rows = 0

    def add(self, key: bytes, gold: bytes | None, stratum: int) -> None:
        """Note the next row.

        Args:
            key: The keys of its requests; empty where they don't tell: it is like no other.
            gold: Its right answer: only where it is the same, an answer is right for both or for neither.
            stratum: The number of its group.
        """
        if not key:
            self._keys += self._rows.to_bytes(KEY_BYTES)
        elif gold is None and not stratum and len(key) == KEY_BYTES:
            self._keys += key
        else:
            whole = b"%s%d %s" % (key, stratum, b"-" if gold is None else b"=" + gold)
            self._keys += blake2b(whole, digest_size=KEY_BYTES).digest()
        self._rows += 1

    def keys_of(self, rows: range) -> NDArray[np.uint64]:
        """[rows] their keys, folded to 64 bits; may be asked for while others are added."""
        part = bytes(self._keys[rows.start * KEY_BYTES : rows.stop * KEY_BYTES])
        halves = np.frombuffer(part, dtype="<u8").reshape(-1, 2)
        # One half of the keys of rows that are like no other is the same in all of them.
        return np.asarray(halves[:, 0] ^ (halves[:, 1] * _ODD))

    def find(self) -> tuple[Rows, Rows]:
        """Rows that are the same as an earlier one, in ascending order, and for each the first such row."""
        keys = np.frombuffer(self._keys, dtype=[("high", "<u8"), ("low", "<u8")])
        order = np.argsort(keys["high"], kind="stable")
        high = keys["high"][order]
        is_like_next = high[1:] == high[:-1]
        if not is_like_next.any():
            return np.empty(0, np.int64), np.empty(0, np.int64)
        # The few that share half of their keys, by both halves and then by their place.
        shares = np.zeros(len(order), np.bool_)
        shares[1:] = is_like_next
        shares[:-1] |= is_like_next
        rows = order[shares]
        rows = rows[np.lexsort((rows, keys["low"][rows], keys["high"][rows]))]
        is_first = np.ones(len(rows), np.bool_)
        is_first[1:] = keys[rows][1:] != keys[rows][:-1]
        leader = rows[np.maximum.accumulate(np.where(is_first, np.arange(len(rows)), 0))]
        follower = rows[~is_first]
        by_place = np.argsort(follower)
        return follower[by_place], leader[~is_first][by_place]


class SeenKeys:
    """Which keys came before, while they stream by: 8 bytes a key, in sorted runs that are merged as they
    grow, so that a key is moved as often as the number of keys can be halved."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def are_new(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """[K] which of the keys are seen for the first time; all of them are known from now on."""
        run, places = np.unique(keys, return_index=True)
        is_new = np.zeros(len(keys), np.bool_)
        is_new[places] = True
        for known in self._runs:
            at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            is_new &= known[at] != keys
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.union1d(self._runs.pop(), run)
        if run.size:
            self._runs.append(run)
        return is_new
