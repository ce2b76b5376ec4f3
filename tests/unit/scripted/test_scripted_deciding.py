"""Faults, limits, simulation and the price of a call, decided without a network."""

import math
from decimal import Decimal
from fractions import Fraction

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.providers.scripted import right_choice, script_from
from cascade_batch.providers.scripted.bill import Rate, Usage
from cascade_batch.providers.scripted.faults import FaultPlan, FaultRule
from cascade_batch.providers.scripted.limits import Limiter
from cascade_batch.providers.scripted.provider import Provider
from cascade_batch.providers.scripted.said import Said, token_count
from cascade_batch.providers.scripted.script import ScriptLimits
from cascade_batch.providers.scripted.wire import Format

USD = st.decimals(0, 200, places=6)
TOKENS = st.integers(0, 10**7)


@given(USD, USD, USD, USD, TOKENS, TOKENS, TOKENS)
def test_a_call_costs_its_exact_price_rounded_up_once(
    inp, out, cached, call, n_in, n_out, n_cached
):
    n_cached = min(n_cached, n_in)
    rate = Rate.from_usd(inp, out, cached, call)
    exact_usd = (
        Fraction(inp) * (n_in - n_cached) + Fraction(cached) * n_cached + Fraction(out) * n_out
    ) / 10**6 + Fraction(call)
    cost = rate.cost_nanousd(Usage(n_in, n_out, n_cached))
    assert cost == math.ceil(exact_usd * 10**9)


@given(st.text(max_size=60), st.integers(0, 40), st.floats(-50, 0))
def test_the_tokens_of_an_answer_are_its_text_and_add_up_to_its_logprob(text, tokens, logprob):
    said = Said(text, tokens, logprob=logprob)
    assert len(said.pieces()) == len(said.piece_logprobs()) == tokens
    if tokens:
        assert "".join(said.pieces()) == text
        assert math.isclose(math.fsum(said.piece_logprobs()), logprob, abs_tol=1e-9)


@given(st.text(min_size=1))
def test_a_text_has_no_more_tokens_than_bytes(text):
    assert 1 <= token_count(len(text.encode())) <= len(text.encode())


def fired(rules, calls, seed=0):
    """Kinds by call; a call is (model, prompt, elapsed_s)."""
    plan = FaultPlan([FaultRule.model_validate(rule) for rule in rules], seed)
    chosen = [plan.choose(m, p, p.encode(), s) for m, p, s in calls]
    return [None if rule is None else rule.kind.value for rule in chosen]


def numbers(kinds):
    return [number for number, kind in enumerate(kinds, start=1) if kind is not None]


PLAIN = [("m", f"prompt {n}", 0.0) for n in range(1000)]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"nth": 3}, [3]),
        ({"nth": [1, 4]}, [1, 4]),
        ({"every": 250}, [250, 500, 750, 1000]),
        ({"match": "^prompt 9$"}, [10]),
        ({"match": "prompt 1", "nth": 2}, [11]),
        ({"model": "other"}, []),
        ({"probability": 0}, []),
    ],
)
def test_selectors(selector, expected):
    assert numbers(fired([{"kind": "hang", **selector}], PLAIN)) == expected


def test_first_counts_attempts_per_prompt_and_model():
    calls = [("m", "a", 0), ("m", "a", 0), ("m", "a", 0), ("m", "b", 0), ("n", "a", 0)]
    assert numbers(fired([{"kind": "hang", "first": 2}], calls)) == [1, 2, 4, 5]


def test_a_window_is_open_at_its_start_and_closed_at_its_end():
    calls = [("m", "a", s) for s in (0.9, 1.0, 1.9, 2.0)]
    assert numbers(fired([{"kind": "hang", "after_s": 1, "until_s": 2}], calls)) == [2, 3]


def test_a_share_of_prompts_is_always_the_same_prompts():
    rule = [{"kind": "hang", "prompt_share": 0.1}]
    once = numbers(fired(rule, PLAIN))
    assert 60 <= len(once) <= 140
    assert numbers(fired(rule, PLAIN[::-1])) == [1001 - n for n in reversed(once)]
    assert numbers(fired(rule, PLAIN, seed=1)) != once


def test_draws_repeat_with_the_seed_and_differ_without():
    rule = [{"kind": "hang", "probability": 0.3}]
    assert fired(rule, PLAIN, seed=5) == fired(rule, PLAIN, seed=5)
    assert fired(rule, PLAIN, seed=5) != fired(rule, PLAIN, seed=6)
    assert 240 <= len(numbers(fired(rule, PLAIN))) <= 360


def test_the_first_rule_wins_and_does_not_disturb_the_next():
    second = {"kind": "reset", "probability": 0.5}
    alone = fired([{"kind": "hang", "probability": 0}, second], PLAIN)
    both = fired([{"kind": "hang", "every": 2}, second], PLAIN)
    assert both[1::2] == ["hang"] * 500
    assert both[::2] == alone[::2]


def test_calls_per_minute_refill_evenly():
    limiter = Limiter(ScriptLimits(rpm=60), 100.0)
    assert [limiter.admit(100.0, 1, 0) for _ in range(60)] == [None] * 60
    over = limiter.admit(100.0, 1, 0)
    assert over.limit == "rpm"
    assert over.retry_after_s == pytest.approx(1.0)
    assert limiter.admit(101.01, 1, 0) is None
    assert limiter.admit(101.02, 1, 0).limit == "rpm"


def test_tokens_per_minute_let_a_big_call_in_and_wait_for_its_debt():
    limiter = Limiter(ScriptLimits(tpm=600), 0.0)
    assert limiter.admit(0.0, 1200, 0) is None
    over = limiter.admit(0.0, 1, 0)
    assert over.limit == "tpm"
    assert 60 < over.retry_after_s < 61
    assert limiter.admit(over.retry_after_s + 0.01, 1, 0) is None


def test_concurrency_is_of_calls_in_flight():
    limiter = Limiter(ScriptLimits(concurrency=2), 0.0)
    assert limiter.admit(0.0, 1, 1) is None
    assert limiter.admit(0.0, 1, 2).limit == "concurrency"


CHOICES = ["up", "down", "none"]


def simulated(models, prompts, seed=0):
    """Per model, per prompt: (text, logprob)."""
    script = script_from(
        {
            "seed": seed,
            "models": {n: {"simulate": {"choices": CHOICES, **m}} for n, m in models.items()},
        }
    )
    provider = Provider(script)

    def ask(model, prompt):
        request = {
            "model": model,
            "logprobs": True,
            "messages": [{"role": "user", "content": prompt}],
        }
        call = provider.accept(Format.CHAT, orjson.dumps(request))
        call.end(delivered=True)
        choice = orjson.loads(call.outcome.body)["choices"][0]
        logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
        return choice["message"]["content"], math.fsum(logprobs)

    return {name: [ask(name, prompt) for prompt in prompts] for name in models}


PROMPTS = [f"Headline {n}" for n in range(2000)]


def test_a_simulated_model_is_as_right_as_told_and_surer_when_right():
    models = {"weak": {"accuracy": 0.6}, "strong": {"accuracy": 0.9}}
    answers = simulated(models, PROMPTS)
    gold = [right_choice(prompt, CHOICES) for prompt in PROMPTS]
    right = {
        name: [said == truth for (said, _), truth in zip(given, gold, strict=True)]
        for name, given in answers.items()
    }
    assert sum(right["weak"]) / 2000 == pytest.approx(0.6, abs=0.04)
    assert sum(right["strong"]) / 2000 == pytest.approx(0.9, abs=0.03)
    saved = [s for w, s in zip(right["weak"], right["strong"], strict=True) if w]
    assert sum(saved) / len(saved) > 0.92, "what is easy for the weak is easier for the strong"

    sure = sorted(zip([p for _, p in answers["weak"]], right["weak"], strict=True))
    assert sum(r for _, r in sure[1000:]) > 1.3 * sum(r for _, r in sure[:1000])
    assert all(math.log(1 / 3) < p <= 0 for p, _ in sure)


def test_simulation_repeats_whatever_the_order():
    model = {"m": {"accuracy": 0.5}}
    forth = simulated(model, PROMPTS[:50])["m"]
    assert simulated(model, PROMPTS[:50][::-1])["m"] == forth[::-1]
    assert simulated(model, PROMPTS[:50], seed=1)["m"] != forth


def test_a_marker_in_the_prompt_is_the_right_choice():
    model = {"m": {"accuracy": 1, "gold": r"#(\w+)", "text": '{"label": "{choice}"}'}}
    assert simulated(model, ["Rain #down"])["m"][0][0] == '{"label": "down"}'


def test_long_answers_of_a_simulation_spread_as_told():
    model = {"accuracy": 1, "output_tokens": {"p50": 100, "p95": 400}}
    script = script_from({"models": {"m": {"simulate": {"choices": CHOICES, **model}}}})
    provider = Provider(script)
    tokens = []
    for prompt in PROMPTS[:1000]:
        request = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
        call = provider.accept(Format.CHAT, orjson.dumps(request))
        tokens.append(call.outcome.usage.output_tokens)
    tokens.sort()
    assert tokens[500] == pytest.approx(100, rel=0.15)
    assert tokens[950] == pytest.approx(400, rel=0.25)


def test_lognormal_latencies_have_the_percentiles_told_and_repeat():
    content = {"models": {"m": {"echo": True, "latency_ms": {"p50": 200, "p95": 800}}}}

    def delays_s():
        provider = Provider(script_from(content))
        body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'
        return [provider.accept(Format.CHAT, body).delay_s for _ in range(2000)]

    once = delays_s()
    assert once == delays_s()
    once.sort()
    assert once[1000] == pytest.approx(0.2, rel=0.1)
    assert once[1900] == pytest.approx(0.8, rel=0.2)


def test_wrong_usage_rounds_up():
    assert Usage(3, 1, 1, 1).times(Decimal("1.5")) == Usage(5, 2, 2, 2)


def test_a_price_finer_than_a_picodollar_is_rounded_up():
    rate = Rate.from_usd(Decimal("0.00000011"), Decimal(0), Decimal(0), Decimal(0))
    assert rate.cost_nanousd(Usage(1000, 0)) == 1
