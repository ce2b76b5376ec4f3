"""Reading recorded sets: what is in the file is in the arrays, and what is wrong is told with its place."""

from __future__ import annotations

import numpy as np
import pytest

from cascade_batch.errors import DataError, UsageError
from cascade_batch.replay.recorded import mix, read_mix, read_set, sample_rows

from .files import PRICES, made_rows, outcome, prices, row, write_set


def test_costs_are_those_of_the_recorded_tokens_rounded_up_per_call(tmp_path):
    outcomes = {
        "small": outcome(input_tokens=7, output_tokens=3),
        "middle": outcome(input_tokens=0, output_tokens=1),
        "large": outcome(input_tokens=1, output_tokens=1),
    }
    beside = prices({**PRICES, "middle": (0.5, 0.0375)})
    set_ = read_set(write_set(tmp_path, [row(outcomes=outcomes)], beside=beside))

    # Nano-dollars: 7 * 100 + 3 * 400; 37.5, rounded up; 2500 + 10000.
    assert set_.cost_nanousd.tolist() == [[1900, 38, 12500]]


def test_a_worst_case_has_the_row_s_input_and_the_longest_output_of_its_tier(tmp_path):
    rows = [
        row(0, outcomes={t: outcome(input_tokens=10, output_tokens=2) for t in PRICES}),
        row(1, outcomes={t: outcome(input_tokens=20, output_tokens=5) for t in PRICES}),
    ]
    set_ = read_set(write_set(tmp_path, rows), ["small", "large"])

    assert set_.worst_nanousd.tolist() == [[3000, 75_000], [4000, 100_000]]
    assert (sample_rows(set_, 1, np.random.default_rng(0)).worst_nanousd >= 3000).all()


def test_signals_are_read_and_what_is_missing_is_nan(tmp_path):
    outcomes = {
        "small": outcome(logprob=-2.5, score=0.0, output_tokens=4),
        "middle": outcome(logprob=None),
        "large": outcome(logprob=0.1),
    }
    rows = [row(system="Be brief.", prompt="Größe?", outcomes=outcomes), row(task="law")]
    set_ = read_set(write_set(tmp_path, rows))

    assert set_.confidence[0].tolist() == pytest.approx([-2.5, np.nan, 0.0], nan_ok=True)
    assert set_.score[0].tolist() == [0, 1, 1]
    assert set_.length[0].tolist() == [4, 1, 1]
    assert set_.input_size[0] == 9 + 8
    assert set_.stratum_names == ("made", "law")
    assert set_.stratum.tolist() == [0, 1]


def test_only_the_tiers_asked_for_are_read_in_their_order(tmp_path):
    path = write_set(tmp_path, [row(outcomes={"large": outcome(score=0), "small": outcome()})])

    set_ = read_set(path, ["small", "large"])

    assert set_.tiers == ("small", "large")
    assert set_.score.tolist() == [[1, 0]]


GOOD = row()
BAD_SCORE = row(outcomes={**GOOD["outcomes"], "large": outcome(score=2)})
BAD_TOKENS = row(outcomes={**GOOD["outcomes"], "large": outcome(output_tokens=-1)})
NO_TOKENS = row(outcomes={**GOOD["outcomes"], "large": {"text": "A", "score": 1}})
NOT_ALL = row(outcomes={"small": outcome(), "large": outcome()})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{oops", "broken JSON"),
        ("[1]", "`outcomes`"),
        ({"prompt": "x"}, "'outcomes' is missing"),
        ({"outcomes": {}}, "'prompt' is missing"),
        (row(prompt=None), "`prompt`"),
        (row(outcomes=[]), "no outcome for the tier 'small'"),
        (NOT_ALL, "no outcome for the tier 'middle'"),
        (BAD_SCORE, "'large' needs"),
        (BAD_TOKENS, "'large' needs"),
        (NO_TOKENS, "'large' needs"),
        (row(outcomes=dict.fromkeys(PRICES, "A")), "'small' needs"),
    ],
)
def test_a_line_that_can_t_be_used_is_told_with_file_and_line(tmp_path, line, said):
    path = write_set(tmp_path, [GOOD, line])

    with pytest.raises(DataError, match=r"made\.jsonl\.gz:2: ") as caught:
        read_set(path)

    assert said in caught.value.message


def test_a_set_without_prices_says_what_they_look_like(tmp_path):
    path = write_set(tmp_path, [GOOD])
    (tmp_path / "made.json").unlink()

    with pytest.raises(UsageError, match=r"there is no file .*made\.json") as caught:
        read_set(path)

    assert caught.value.hint is not None
    assert "input_usd_per_mtok" in caught.value.hint


@pytest.mark.parametrize(
    "beside", [{}, [], {"tiers": [{"name": "small"}]}, prices({"small": (-1, 0)}), {"tiers": 3}]
)
def test_prices_that_can_t_be_used_are_told(tmp_path, beside):
    with pytest.raises(UsageError, match=r"made\.json holds no prices"):
        read_set(write_set(tmp_path, [GOOD], beside=beside))


@pytest.mark.parametrize(
    ("tiers", "said"),
    [
        (["small", "huge"], "no price for a tier 'huge'"),
        (["small"], "two different tiers"),
        (["small", "small"], "two different tiers"),
    ],
)
def test_tiers_that_can_t_be_replayed_are_told(tmp_path, tiers, said):
    with pytest.raises(UsageError, match=said):
        read_set(write_set(tmp_path, [GOOD]), tiers)


def test_files_that_can_t_be_read_are_told(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        read_set(tmp_path / "none.jsonl.gz")
    path = write_set(tmp_path, [GOOD])
    path.write_bytes(b"no gzip")
    with pytest.raises(UsageError, match="can't be read"):
        read_set(path)
    with pytest.raises(DataError, match="no row"):
        read_set(write_set(tmp_path, []))


def test_a_mix_keeps_the_sets_apart_as_strata_and_matches_tiers_by_place(tmp_path):
    first = write_set(tmp_path, made_rows(4), name="first")
    other = {"tiny": (0.1, 0.1), "mid": (0.2, 0.2), "huge": (9, 9)}
    rows = [row(outcomes=dict.fromkeys(other, outcome(score=0.0)))]
    second = write_set(tmp_path, rows, name="second", beside=prices(other, "second"))

    both = read_mix([first, second], [["small", "middle", "large"]])

    assert both.name == "first+second"
    assert both.tiers == ("small+tiny", "middle+mid", "large+huge")
    assert both.stratum_names == ("first/maths", "first/law", "second/made")
    assert both.stratum.tolist() == [0, 1, 0, 1, 2]
    assert both.score[4].tolist() == [0, 0, 0]
    picked = read_mix([first, second], [["small", "large"], ["mid", "huge"]])
    assert picked.tiers == ("small+mid", "large+huge")
    with pytest.raises(UsageError, match="second has 3"):
        read_mix([first, second], [["small", "large"]])
    with pytest.raises(UsageError, match="2 sets, and tiers for 3"):
        read_mix([first, second], [["small", "large"]] * 3)


def test_a_sample_has_different_rows_and_all_that_belongs_to_them(tmp_path):
    set_ = read_set(write_set(tmp_path, made_rows(40)))
    sample = sample_rows(set_, 15, np.random.default_rng(3))
    whole = {
        (*costs, *scores): stratum
        for costs, scores, stratum in zip(
            set_.cost_nanousd.tolist(), set_.score.tolist(), set_.stratum, strict=True
        )
    }

    assert len(sample) == 15
    for costs, scores, stratum in zip(
        sample.cost_nanousd.tolist(), sample.score.tolist(), sample.stratum, strict=True
    ):
        assert whole.pop((*costs, *scores)) == stratum
    assert len(sample_rows(set_, 100, np.random.default_rng(3))) == 40


def test_a_mix_of_one_set_is_that_set(tmp_path):
    set_ = read_set(write_set(tmp_path, made_rows(3)))

    assert mix([set_]) is set_
