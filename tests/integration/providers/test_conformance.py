"""Every wire format against every kind of server: what the caller is told must follow the money.

A scene says what the server does; the tests say what has to come of it. A further kind of server
joins by an entry in `KINDS`.
"""

from __future__ import annotations

from typing import Any

import pytest

from cascade_batch.domain.answer import Answered, RefusalKind, Refused, Unknown
from tests.integration.providers.conftest import Play
from tests.integration.providers.loopback import LoopbackKind
from tests.integration.providers.scenes import Scene, Trouble

# --- answers ---


async def test_a_good_answer_comes_with_text_usage_and_latency(play: Play) -> None:
    outcome = await play(Trouble.NONE, text="up", output_tokens=1)
    assert isinstance(outcome, Answered)
    assert outcome.reply.text == "up"
    assert outcome.reply.finish_reason == "stop"
    assert not outcome.reply.refusal
    assert outcome.reply.latency_ms > 0
    assert outcome.reply.usage is not None
    assert outcome.reply.usage.output_tokens == 1
    assert outcome.reply.usage.input_tokens > 0


async def test_cached_input_is_a_part_of_the_input(play: Play) -> None:
    outcome = await play(Trouble.NONE, cached_input_tokens=3)
    assert isinstance(outcome, Answered)
    usage = outcome.reply.usage
    assert usage is not None
    assert usage.cached_input_tokens == 3
    assert usage.input_tokens > 3


async def test_reasoning_is_billed_as_output(play: Play) -> None:
    outcome = await play(Trouble.NONE, output_tokens=2, reasoning_tokens=50)
    assert isinstance(outcome, Answered)
    assert outcome.reply.usage is not None
    assert outcome.reply.usage.output_tokens == 52


async def test_log_probabilities_where_the_format_has_them(
    play: Play, wire: dict[str, Any]
) -> None:
    outcome = await play(Trouble.NONE, text="up", logprob=-0.25, alternatives=(("down", -2.0),))
    assert isinstance(outcome, Answered)
    if wire["api"] == "anthropic":
        assert outcome.reply.logprobs is None
        assert outcome.reply.top_logprobs is None
    else:
        assert outcome.reply.logprobs == (-0.25,)
        assert outcome.reply.top_logprobs == {"up": -0.25, "down": -2.0}


async def test_an_answer_at_the_token_limit_says_so(play: Play) -> None:
    outcome = await play(Trouble.TRUNCATED_ANSWER, text="up and away", output_tokens=5)
    assert isinstance(outcome, Answered)
    assert outcome.reply.finish_reason == "length"
    assert outcome.reply.text


async def test_an_empty_answer_is_an_answer(play: Play) -> None:
    outcome = await play(Trouble.EMPTY_ANSWER)
    assert isinstance(outcome, Answered)
    assert outcome.reply.text == ""


async def test_a_filtered_answer_is_marked(play: Play) -> None:
    outcome = await play(Trouble.CONTENT_FILTER)
    assert isinstance(outcome, Answered)
    assert outcome.reply.finish_reason == "content_filter"
    assert outcome.reply.refusal


async def test_a_refusal_by_the_model_is_marked_and_its_words_kept(play: Play) -> None:
    outcome = await play(Trouble.REFUSAL, text="I can't help with that.")
    assert isinstance(outcome, Answered)
    assert outcome.reply.refusal
    assert outcome.reply.text


async def test_an_answer_without_usage_leaves_it_open(play: Play) -> None:
    outcome = await play(Trouble.NO_USAGE)
    assert isinstance(outcome, Answered)
    assert outcome.reply.text == "up"
    assert outcome.reply.usage is None


async def test_a_slow_answer_in_time_is_an_answer(play: Play) -> None:
    outcome = await play(Trouble.SLOW_DRIP, duration_s=0.2)
    assert isinstance(outcome, Answered)
    assert outcome.reply.text == "up"


# --- refusals: nothing is billed ---


async def test_a_rate_limit_says_how_long_to_wait(play: Play) -> None:
    outcome = await play(Trouble.RATE_LIMIT, retry_after_s=7)
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.RATE_LIMIT
    assert outcome.status == 429
    assert outcome.retry_after_s == 7.0


@pytest.mark.parametrize("status", [500, 502, 503, 529])
async def test_a_complete_server_error_is_free(play: Play, status: int) -> None:
    outcome = await play(Trouble.SERVER_ERROR, status=status, retry_after_s=2)
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.SERVER
    assert outcome.status == status
    assert outcome.retry_after_s == 2.0


@pytest.mark.parametrize(
    ("trouble", "status", "refused"),
    [
        (Trouble.UNAUTHORIZED, 401, RefusalKind.TIER),
        (Trouble.UNAUTHORIZED, 402, RefusalKind.TIER),
        (Trouble.UNAUTHORIZED, 403, RefusalKind.TIER),
        (Trouble.BAD_REQUEST, 400, RefusalKind.ROW),
        (Trouble.BAD_REQUEST, 413, RefusalKind.ROW),
        (Trouble.BAD_REQUEST, 422, RefusalKind.ROW),
        (Trouble.BAD_REQUEST, 408, RefusalKind.SERVER),
        (Trouble.BAD_REQUEST, 409, RefusalKind.SERVER),
    ],
)
async def test_who_is_refused(
    play: Play, trouble: Trouble, status: int, refused: RefusalKind
) -> None:
    outcome = await play(trouble, status=status)
    assert isinstance(outcome, Refused)
    assert outcome.kind is refused
    assert outcome.status == status


async def test_an_unknown_model_stops_the_tier(play: Play) -> None:
    outcome = await play(Trouble.NOT_FOUND)
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.TIER


async def test_a_redirect_is_not_followed(play: Play) -> None:
    async with LoopbackKind().serve(Scene()) as elsewhere:
        outcome = await play(Trouble.REDIRECT, location=f"{elsewhere.url}/chat/completions")
        assert isinstance(outcome, Refused)
        assert outcome.kind is RefusalKind.TIER
        assert "base_url" in outcome.message
        assert elsewhere.calls() == 0


# --- unknown: may be billed ---


async def test_no_answer_in_time_is_unknown(play: Play) -> None:
    outcome = await play(Trouble.HANG, tier={"timeout_s": 0.2})
    assert isinstance(outcome, Unknown)
    assert outcome.reason == "timeout"


async def test_an_answer_that_drips_past_the_time_out_is_unknown(play: Play) -> None:
    outcome = await play(Trouble.SLOW_DRIP, duration_s=60, tier={"timeout_s": 0.3})
    assert isinstance(outcome, Unknown)
    assert outcome.reason == "timeout"


@pytest.mark.parametrize("trouble", [Trouble.RESET, Trouble.RESET_AFTER_HEADERS, Trouble.CUT_BODY])
async def test_a_broken_connection_is_unknown(play: Play, trouble: Trouble) -> None:
    outcome = await play(trouble)
    assert isinstance(outcome, Unknown)
    assert outcome.reason == "disconnected"


@pytest.mark.parametrize("trouble", [Trouble.HTML_200, Trouble.ERROR_200, Trouble.HUGE_BODY])
async def test_an_unreadable_answer_is_unknown(play: Play, trouble: Trouble) -> None:
    outcome = await play(trouble)
    assert isinstance(outcome, Unknown)
    assert outcome.reason == "unreadable"
    assert len(outcome.message) <= 500
