"""What looks wrong in a job and may be meant: warned of, not refused."""

from __future__ import annotations

import pytest

from cascade_batch.engine.spec_files import JobOptions, read_job


@pytest.mark.parametrize(
    ("check", "gold", "warned"),
    [
        ("exact", None, True),
        ("json:label", None, True),
        ("exact", "label", False),
        ("regex:^yes", None, False),
        ("judge:large", None, False),
        (None, None, False),
    ],
)
def test_a_check_that_needs_gold_says_so_where_there_is_none(folder, write, check, gold, warned):
    write("tiers.yaml")

    request = read_job(JobOptions(data="d.csv", budget="1", check=check, gold=gold))

    assert any("decide nothing" in warning for warning in request.warnings) is warned


@pytest.mark.parametrize(
    ("prompt", "system", "warned"),
    [
        ("Is this good?", None, "Write {{ column }} where"),
        ("Is {review} good?", None, "Write {{ review }} instead of {review}."),
        ("Is {{ review }} good?", None, None),
        ("Is {{ row['the review'] }} good?", None, None),
        ("{% if stars %}Good?{% endif %}", None, None),
        ("Is this good?", "You know {{ product }}.", None),
        (None, "You know all.", None),
    ],
)
def test_a_prompt_that_is_the_same_for_all_rows_is_warned_of(folder, write, prompt, system, warned):
    write("tiers.yaml")

    request = read_job(JobOptions(data="d.csv", budget="1", prompt=prompt, system=system))

    found = [one for one in request.warnings if "every row asks the same" in one]
    assert len(found) == (warned is not None)
    assert all(one.startswith("--prompt: ") and str(warned) in one for one in found)
