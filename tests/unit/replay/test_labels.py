"""Label regimes as they are written."""

from __future__ import annotations

import pytest

from cascade_batch.errors import UsageError
from cascade_batch.policy.view import Labels
from cascade_batch.replay.labels import parse_regime


@pytest.mark.parametrize(
    ("text", "labels", "pass_right", "fail_wrong", "gold_share"),
    [
        ("check", Labels.CHECK, 1, 1, 0),
        ("check:0.9", Labels.CHECK, 0.9, 0.9, 0),
        ("check:95%:0.8", Labels.CHECK, 0.95, 0.8, 0),
        ("learn", Labels.GOLD, 1, 1, 1),
        ("gold:10%", Labels.GOLD, 1, 1, 0.1),
        ("gold:0.25", Labels.GOLD, 1, 1, 0.25),
        ("agreement", Labels.AGREEMENT, 1, 1, 0),
    ],
)
def test_a_regime_is_read(text, labels, pass_right, fail_wrong, gold_share):
    regime = parse_regime(text)

    assert regime.labels == labels
    assert (regime.pass_right, regime.fail_wrong) == pytest.approx((pass_right, fail_wrong))
    assert regime.gold_share == pytest.approx(gold_share)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "magic",
        "check:",
        "check:2",
        "check:nan",
        "check:1:1:1",
        "gold",
        "gold:10",
        "gold:0%",
        "learn:1",
    ],
)
def test_what_is_no_regime_is_told(text):
    with pytest.raises(UsageError, match="no label regime"):
        parse_regime(text)
