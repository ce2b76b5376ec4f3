"""Whatever a provider sends: a reply, a refusal, or what nobody can read, which counts as unknown."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.answer import RefusalKind, Reply
from cascade_batch.domain.job import Output
from cascade_batch.domain.money import Price, PriceStep, Usage
from cascade_batch.domain.tier import Tier
from cascade_batch.providers.anthropic import AnthropicWire
from cascade_batch.providers.calling import _reply
from cascade_batch.providers.openai import OpenAIWire
from cascade_batch.providers.reading import MAX_BRACKETS, UnreadableError, parse_json
from cascade_batch.providers.refusals import refusal
from cascade_batch.providers.retry_after import MAX_WAIT_S
from cascade_batch.providers.wire import Wire
from cascade_batch.quality import make_judge, signals_of
from tests.fuzz.hostile import FUZZ, SCALARS, spoilt_bytes, spoilt_tree

CHAT = OpenAIWire(Tier(name="c", model="m", base_url="http://localhost/v1", logprobs=True))
COMPLETIONS = OpenAIWire(
    Tier(name="b", model="m", base_url="http://localhost/v1", endpoint="completions", logprobs=True)
)
ANTHROPIC = AnthropicWire(Tier(name="a", model="m", api="anthropic"))
CHOICES = Output(choices=("up", "down", "A"))
JUDGE = make_judge(CHOICES, None)
DEAR = PriceStep(input_picousd=10**12, output_picousd=10**12)  # a dollar a token
PRICE = Price(steps=(DEAR,), call_nanousd=3)

CHAT_ANSWER: dict[str, Any] = {
    "id": "x",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "up", "refusal": None},
            "finish_reason": "stop",
            "logprobs": {
                "content": [
                    {
                        "token": "up",
                        "logprob": -0.1,
                        "top_logprobs": [
                            {"token": "up", "logprob": -0.1},
                            {"token": "down", "logprob": -2.5},
                        ],
                    }
                ]
            },
        }
    ],
    "usage": {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
        "prompt_cache_hit_tokens": 4,
    },
}
PARTS_ANSWER = {
    "choices": [{"message": {"content": [{"type": "text", "text": "up"}, "."]}, "error": None}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}
COMPLETION_ANSWER = {
    "choices": [
        {
            "text": " up",
            "finish_reason": "length",
            "logprobs": {
                "tokens": [" up"],
                "token_logprobs": [-0.5],
                "top_logprobs": [{" up": -0.5, " down": -1}],
            },
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}
ANTHROPIC_ANSWER = {
    "type": "message",
    "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "up"}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 5,
        "output_tokens": 2,
        "cache_read_input_tokens": 1,
        "cache_creation_input_tokens": 2,
        "output_tokens_details": {"thinking_tokens": 1},
    },
}
ERROR = {
    "error": {
        "message": "You exceeded your quota",
        "type": "insufficient_quota",
        "code": "x",
        "param": "messages[0]",
        "innererror": {"code": "ResponsibleAI"},
        "metadata": {"flagged_input": "…"},
    },
    "detail": [{"msg": "no", "loc": ["body"]}],
}
GOOD: list[tuple[Wire, Any]] = [
    (CHAT, CHAT_ANSWER),
    (CHAT, PARTS_ANSWER),
    (CHAT, ERROR),
    (COMPLETIONS, COMPLETION_ANSWER),
    (ANTHROPIC, ANTHROPIC_ANSWER),
    (ANTHROPIC, ERROR),
]
COUNTS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**31 - 1, 2**31, 2**63, -1, 0, 1, 10**400]),
    st.floats(),
    SCALARS,
)


def read(wire: Wire, body: bytes) -> Reply | None:
    """Read an answer as `HttpProvider` does, and go on as a worker would; the property itself."""
    try:
        reply = _reply(wire, parse_json(body), 1.0)
    except UnreadableError as error:
        assert str(error)
        return None
    assert isinstance(reply.text, str)
    reply.text.encode()  # no half of a surrogate pair
    assert "\0" not in reply.text
    check_usage(reply.usage)
    signals = signals_of(reply, CHOICES)
    for number in (
        signals.logprob_mean,
        signals.logprob_min,
        signals.logprob_sum,
        signals.label_logprob,
    ):
        assert number is None or -9999.0 <= number <= 0.0
    assert orjson.dumps(signals.extra)
    judgement = JUDGE.judge(
        reply.text, "up", finish_reason=reply.finish_reason, refusal=reply.refusal
    )
    assert judgement.value in (None, "up", "down", "A")
    return reply


def check_usage(usage: Usage | None) -> None:
    """Billed is a whole number that is not negative, or nobody knows what was billed."""
    if usage is None:
        return
    for count in asdict(usage).values():
        assert type(count) is int
        assert 0 <= count < 2**31  # what a column of the database holds
    cost_nanousd = PRICE.cost_nanousd(usage)
    assert type(cost_nanousd) is int
    assert 0 <= cost_nanousd < 2**63


@FUZZ
@given(st.sampled_from(GOOD), st.data())
def test_documents_of_other_shapes(good: tuple[Wire, Any], data: st.DataObject) -> None:
    wire, document = good
    read(wire, json.dumps(data.draw(spoilt_tree(document))).encode("utf-8", "surrogatepass"))


@FUZZ
@given(st.sampled_from(GOOD), st.data())
def test_spoilt_bodies(good: tuple[Wire, Any], data: st.DataObject) -> None:
    wire, document = good
    read(wire, data.draw(spoilt_bytes(orjson.dumps(document))))


@FUZZ
@given(st.sampled_from([CHAT, COMPLETIONS, ANTHROPIC]), st.binary() | st.text().map(str.encode))
def test_no_answers_at_all(wire: Wire, body: bytes) -> None:
    read(wire, body)


@FUZZ
@given(
    st.sampled_from(
        [(CHAT, CHAT_ANSWER), (COMPLETIONS, COMPLETION_ANSWER), (ANTHROPIC, ANTHROPIC_ANSWER)]
    ),
    st.data(),
)
def test_token_counts_of_all_kinds(good: tuple[Wire, Any], data: st.DataObject) -> None:
    wire, document = good
    usage = data.draw(spoilt_tree(document["usage"], COUNTS))
    reply = read(wire, json.dumps({**document, "usage": usage}).encode("utf-8", "surrogatepass"))
    assert reply is not None  # a count that can't be believed is no reason to throw the answer away


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["up", "down", " up", "A", "", "\0", "\ud800"]) | st.text(), COUNTS
        ),
        max_size=5,
    )
)
def test_log_probabilities_of_all_kinds(pairs: list[tuple[str, Any]]) -> None:
    alternatives = [{"token": token, "logprob": logprob} for token, logprob in pairs]
    tokens = [{**pair, "top_logprobs": alternatives} for pair in alternatives]
    choice = {"message": {"content": "up"}, "logprobs": {"content": tokens}}
    reply = read(CHAT, json.dumps({"choices": [choice]}).encode("utf-8", "surrogatepass"))
    assert reply is not None
    assert reply.text == "up"


HEADERS = st.sampled_from(
    """
    retry-after-ms Retry-After Date Location x-ratelimit-remaining-requests x-ratelimit-reset-requests
    x-ratelimit-remaining-tokens x-ratelimit-reset-tokens x-ratelimit-reset anthropic-ratelimit-
    requests-reset anthropic-ratelimit-requests-remaining
    """.split()
)
WAITS = st.one_of(
    st.text(),
    COUNTS.map(str),
    st.sampled_from(
        [
            "",
            " ",
            "1m",
            "6m0s",
            "1h1m1s",
            "5ms",
            "9" * 4000,
            "9" * 400 + "s",
            "-5",
            "nan",
            "inf",
            "1e400",
        ]
    ),
    st.datetimes(timezones=st.timezones() | st.none()).map(lambda when: when.isoformat()),
    st.datetimes().map(lambda when: when.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    st.sampled_from(
        ["Fri, 99 Jan 2026 00:00:00 GMT", "Mon, 1 Jan 9999 00:00:00 -9999", ",,,", "0001-01-01"]
    ),
)


@FUZZ
@given(
    st.integers(300, 999),
    st.dictionaries(HEADERS, WAITS, max_size=4),
    st.one_of(
        st.binary(),
        spoilt_tree(ERROR).map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")),
        spoilt_bytes(orjson.dumps(ERROR)),
    ),
)
def test_refusals(status: int, headers: dict[str, str], body: bytes) -> None:
    refused = refusal(status, headers, body)
    assert refused.message.startswith(f"HTTP {status}: ")
    assert refused.kind in RefusalKind
    wait_s = refused.retry_after_s
    assert wait_s is None or (math.isfinite(wait_s) and 0 <= wait_s <= MAX_WAIT_S)


DEEP = b"[" * 1000 + b"]" * 1000
HUGE = b"1" + b"0" * 400


@pytest.mark.parametrize("wire", [CHAT, COMPLETIONS, ANTHROPIC])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b"null",
        b"[]",
        b"0",
        b'"text"',
        b'{"error":' + DEEP + b"}",
        b'{"choices":' + DEEP + b',"content":' + DEEP + b"}",
        b'{"choices":[{"error":' + DEEP + b"}]}",
        b"[" * 8 * 2**20,
        b"1" * 2**20,
        b'{"choices": [{"message": {"content": {}}}], "content": {}}' * 2,
    ],
    ids=lambda body: repr(body[:24]) if isinstance(body, bytes) else None,
)
def test_bodies_that_are_no_answer(wire: Wire, body: bytes) -> None:
    with pytest.raises(UnreadableError):
        _reply(wire, parse_json(body), 1.0)


def test_a_flood_of_empty_lists_is_not_even_parsed() -> None:
    with pytest.raises(UnreadableError, match=f"more than {MAX_BRACKETS:,} objects"):
        parse_json(b"[" + b"[]," * MAX_BRACKETS + b"0]")


def test_a_log_probability_that_no_float_holds_is_none() -> None:
    token = b'{"token":"up","logprob":-' + HUGE + b',"top_logprobs":[{"token":"up","logprob":-1}]}'
    # NaN has the body read by the lenient parser, which keeps whole numbers of any size.
    body = (
        b'{"x":NaN,"choices":[{"message":{"content":"up"},"logprobs":{"content":['
        + token
        + b"]}}]}"
    )
    reply = read(CHAT, body)
    assert reply is not None
    assert reply.logprobs is None


def test_a_share_too_small_for_a_float() -> None:
    alternatives = [{"token": token, "logprob": 0} for token in ("down", " down", "Down")]
    token = {"token": "up", "logprob": -745, "top_logprobs": alternatives}
    choice = {"message": {"content": "up"}, "logprobs": {"content": [token]}}
    reply = read(CHAT, json.dumps({"choices": [choice]}).encode())
    assert reply is not None
    label_logprob = signals_of(reply, CHOICES).label_logprob
    assert label_logprob == pytest.approx(-745.5, abs=2)


@pytest.mark.parametrize(
    ("wire", "answer", "usage"),
    [
        (
            CHAT,
            CHAT_ANSWER,
            {
                "prompt_tokens": 5,
                "completion_tokens": 2**31 - 2,
                "completion_tokens_details": {"reasoning_tokens": 2**31 - 1},
            },
        ),
        (
            ANTHROPIC,
            ANTHROPIC_ANSWER,
            {"input_tokens": 2**31 - 1, "output_tokens": 5, "cache_read_input_tokens": 2**31 - 1},
        ),
    ],
)
def test_counts_whose_sum_no_column_holds_are_not_known(
    wire: Wire, answer: Any, usage: Any
) -> None:
    reply = read(wire, json.dumps({**answer, "usage": usage}).encode())
    assert reply is not None
    assert reply.usage is None
