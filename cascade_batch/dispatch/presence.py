"""Which workers answer over the broker."""

from __future__ import annotations

from cascade_batch.dispatch.app import make_app

ANSWER_TIMEOUT_S = 1.0


def find_workers(redis_url: str) -> list[str]:
    """Names of the workers that answer within a second; none where the broker is away."""
    try:
        replies = make_app(redis_url).control.ping(timeout=ANSWER_TIMEOUT_S)
    except Exception:  # kombu passes on whatever its transport raises
        return []
    return sorted(name for reply in replies for name in reply)
