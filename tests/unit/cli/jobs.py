"""Jobs as `job_status` and `job_outlook` give them, for what is drawn of them."""

from __future__ import annotations

from typing import Any

from cascade_batch.domain.money import NANOUSD_PER_USD
from cascade_batch.engine.outlook import Outlook, TierOutlook, Trouble


def status(
    state: str = "running",
    answered: int = 0,
    *,
    budget: float = 10.0,
    spent: float | None = None,
    reserved: float = 0.0,
    at_risk: float = 0.0,
    overrun: float = 0.0,
    large: int = 0,
    **changes: Any,
) -> dict[str, Any]:
    """A job of 1,000 rows on two tiers, of which so many are answered, at a tenth of a cent each."""
    spent = answered / 1000 if spent is None else spent
    money = {
        "budget": budget,
        "spent": spent,
        "reserved": reserved,
        "at_risk": at_risk,
        "overrun": overrun,
        "ring_fence": 0.0,
    }
    given: dict[str, Any] = {
        "name": "news",
        "status": state,
        "reason": None,
        **{f"{what}_usd": usd for what, usd in money.items()},
        **{f"{what}_nanousd": round(usd * NANOUSD_PER_USD) for what, usd in money.items()},
        "rows": {
            "total": 1000,
            "answered": answered,
            "failed": 0,
            "pending": 1000 - answered,
            "unfunded": 0,
        },
        "quality": None,
        "waves": 2,
        "labels": None,
        "policy": "auto",
        "created_at": "2026-01-01T12:00:00+00:00",
        "started_at": "2026-01-01T12:00:01+00:00",
        "finished_at": "2026-01-01T12:01:01+00:00" if state == "finished" else None,
        "frontier": None,
        "standstill": None,
        "deleting": False,
        "reading": False,
        "at_risk_calls": [],
        "tiers": {
            "small": tier(answered, spent, latency_ms_p50=210.4, latency_ms_p95=12_345.0),
            "large": tier(large, 0.0),
        },
    }
    return given | changes


def tier(answers: int, spent: float, **changes: Any) -> dict[str, Any]:
    """One tier of it."""
    return {
        "model": "m",
        "calls": answers,
        "answers": answers,
        "escalated": 0,
        "refused_rows": 0,
        "lost_calls": 0,
        "spent_usd": spent,
        "latency_ms_p50": None,
        "latency_ms_p95": None,
        "stopped": None,
    } | changes


def outlook(
    small: int = 0, large: int = 0, *, in_flight: int = 0, troubles: tuple[Trouble, ...] = ()
) -> Outlook:
    """What is still open on its tiers."""
    return Outlook(
        {
            "small": TierOutlook(asked=1000, open=small, in_flight=in_flight, put_off=0),
            "large": TierOutlook(asked=large, open=large, in_flight=0, put_off=0),
        },
        "wave 3 is planned when 4 more chunks are done",
        troubles,
    )


REFUSED = Trouble("small", "refused", "HTTP 400: row 0", "HTTP 400: row 17", 3, 4.0)
