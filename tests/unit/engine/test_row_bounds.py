"""What submit fences off for a row is what asking it will reserve, on every tier."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.job import JobSpec, Output
from cascade_batch.domain.money import Price, PriceStep
from cascade_batch.domain.row import Record
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.row_bounds import RowBounds, prompt_makers
from cascade_batch.providers import Providers, worst_case_nanousd

CHEAP = Price(steps=(PriceStep(input_picousd=37_500, output_picousd=150_000),))
STEPPED = Price(
    steps=(
        PriceStep(input_picousd=1_000_000, cache_write_picousd=1_250_000, output_picousd=10**7),
        PriceStep(above_input_tokens=300, input_picousd=2_000_000, output_picousd=15 * 10**6),
    ),
    call_nanousd=17,
)
URL = "http://127.0.0.1:9/v1"
TIERS = (
    Tier(name="a", model="short", base_url=URL, frozen_price=CHEAP, max_output_tokens=4),
    Tier(name="b", model="a-much-longer-name", base_url=URL, frozen_price=STEPPED, logprobs=True),
    Tier(name="c", model="m", base_url=URL, endpoint="completions", frozen_price=CHEAP),
    Tier(name="d", model="claude", api="anthropic", frozen_price=STEPPED, params={"top_k": 3}),
    Tier(name="e", model="m", base_url=URL, frozen_price=CHEAP, prompt="In short: {{ text }}"),
    Tier(
        name="f", model="other", base_url=URL, frozen_price=STEPPED, prompt="In short: {{ text }}"
    ),
    Tier(name="g", model="claude-2", api="anthropic", frozen_price=CHEAP),
)


@given(
    st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=4),
    st.permutations(TIERS),
    st.sampled_from([Output(), Output(choices=("up", "down"))]),
)
def test_bounds_are_those_of_the_requests_themselves(texts, tiers, output):
    spec = JobSpec(
        name="job", data="d", budget_nanousd=0, prompt="Up? {{ text }}", tiers=tiers, output=output
    )
    bounds, providers = RowBounds(spec), Providers()
    for line_no, text in enumerate(texts, 1):
        bounds.check(Record(str(line_no), line_no, {"text": text}))
        for no, (tier, maker) in enumerate(zip(tiers, prompt_makers(spec), strict=True)):
            body = providers.request_body(tier, maker.prompt_for({"text": text}), output)
            assert bounds.body_bytes[no] == len(body)
            assert bounds.worst_nanousd[no] == worst_case_nanousd(tier, len(body), text_only=True)
