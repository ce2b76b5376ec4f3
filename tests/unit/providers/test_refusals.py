"""What an error status means, from answers of the shapes that providers send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from cascade_batch.domain.answer import RefusalKind
from cascade_batch.providers.credentials import presentable
from cascade_batch.providers.refusals import refusal

NO_HEADERS: CIMultiDict[str] = CIMultiDict()


def openai_error(message: str = "no", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": None} | more}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, openai_error("Rate limit reached", code="rate_limit_exceeded"), "rate_limit"),
        (429, openai_error("Quota exceeded", code="insufficient_quota"), "tier"),
        (429, openai_error("Quota exceeded", type="insufficient_quota"), "tier"),
        (
            429,
            {"type": "error", "error": {"type": "rate_limit_error", "message": "x"}},
            "rate_limit",
        ),
        (401, openai_error(code="invalid_api_key"), "tier"),
        (402, {"error": {"code": 402, "message": "Insufficient credits"}}, "tier"),
        (403, openai_error("Country not supported"), "tier"),
        (
            403,
            {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"]}}},
            "row",
        ),
        (403, {"error": {"message": "no", "metadata": {"flagged_input": "…"}}}, "row"),
        (403, {"error": "Content violates usage guidelines."}, "row"),
        (404, openai_error("The model does not exist", code="model_not_found"), "tier"),
        (404, {"detail": "Not Found"}, "tier"),
        (400, openai_error("too long", code="context_length_exceeded"), "row"),
        (400, openai_error("filtered", code="content_filter"), "row"),
        (400, openai_error("x", innererror={"code": "ResponsibleAIPolicyViolation"}), "row"),
        (400, openai_error("x", code="billing_hard_limit_reached"), "tier"),
        (
            400,
            {"type": "error", "error": {"message": "Your credit balance is too low to access"}},
            "tier",
        ),
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass one"}}], "tier"),
        (400, openai_error("not with this model", code="unsupported_parameter", param="n"), "tier"),
        (400, openai_error("no 0", code="unsupported_value", param="temperature"), "tier"),
        (400, openai_error("no", code="unsupported_value", param="messages[0].role"), "row"),
        (400, openai_error("x/y is not a valid model ID"), "tier"),
        (400, openai_error("max_tokens is too large", param="max_tokens"), "row"),
        (408, {}, "server"),
        (409, {}, "server"),
        (413, openai_error("too large"), "row"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "row"),
        (425, {}, "server"),
        (498, {}, "server"),
        (500, openai_error("oops"), "server"),
        (503, {}, "server"),
        (529, {"type": "error", "error": {"type": "overloaded_error"}}, "server"),
    ],
)
def test_who_is_refused(status: int, body: Any, kind: str) -> None:
    refused = refusal(status, NO_HEADERS, orjson.dumps(body))
    assert refused.kind is RefusalKind(kind)
    assert refused.status == status
    assert refused.message.startswith(f"HTTP {status}: ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "Say why"}}', "Say why"),
        (b'{"error": "Say why"}', "Say why"),
        (b'{"message": "Say why", "code": 3}', "Say why"),
        (b'{"detail": [{"msg": "Say why"}]}', "Say why"),
        (b'[{"error": {"message": "Say why"}}]', "Say why"),
        (b"Say why", "Say why"),
        (b"<html>Say why</html>", "Say why"),
        (b"\xff\xfeSay why", "Say why"),
        (b"", "no reason given"),
        (b"[]", "[]"),
        (b"null", "null"),
    ],
)
def test_the_message_is_the_servers_own(body: bytes, words: str) -> None:
    assert words in refusal(400, NO_HEADERS, body).message


def test_messages_hold_nothing_that_a_database_does_not() -> None:
    message = presentable("a\0b \ud800\n\tc")
    assert message == "a\ufffdb ? c"


def test_a_redirect_names_where_it_points_to() -> None:
    refused = refusal(308, CIMultiDict({"Location": "https://new.example/v1"}), b"")
    assert refused.kind is RefusalKind.TIER
    assert "https://new.example/v1" in refused.message
    assert "base_url" in refused.message


NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def in_seconds(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        (
            {"Retry-After": format_datetime(in_seconds(90), usegmt=True)},
            90.0,
        ),
        ({"Retry-After": format_datetime(in_seconds(-5), usegmt=True)}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "9999999"}, 86_400.0),
        ({"x-ratelimit-reset-requests": "1m30s"}, 90.0),
        ({"x-ratelimit-reset-tokens": "88ms"}, 0.088),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "20s",
                "x-ratelimit-remaining-tokens": "900",
                "x-ratelimit-reset-tokens": "2s",
            },
            20.0,
        ),
        ({"x-ratelimit-reset-requests": "20s", "x-ratelimit-reset-tokens": "2s"}, 2.0),
        ({"x-ratelimit-reset": "7"}, 7.0),
        ({"x-ratelimit-reset-tokens": "some time"}, None),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": in_seconds(30).isoformat(),
            },
            30.0,
        ),
    ],
)
def test_how_long_to_wait_after_a_rate_limit(
    headers: dict[str, str], seconds: float | None
) -> None:
    dated = CIMultiDict({"Date": format_datetime(NOW, usegmt=True)} | headers)
    refused = refusal(429, dated, b"{}")
    assert refused.retry_after_s == (None if seconds is None else pytest.approx(seconds))


def test_a_reset_as_a_time_since_the_epoch() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=600)
    for stamp in (soon.timestamp(), soon.timestamp() * 1000):
        headers = CIMultiDict({"X-RateLimit-Reset": str(int(stamp))})
        waited = refusal(429, headers, b"{}").retry_after_s
        assert waited is not None
        assert 500 < waited <= 600


def test_a_server_error_waits_only_for_what_it_asks() -> None:
    limits = CIMultiDict({"x-ratelimit-reset-requests": "20s"})
    assert refusal(500, limits, b"{}").retry_after_s is None
    limits["Retry-After"] = "3"
    assert refusal(503, limits, b"{}").retry_after_s == 3.0
