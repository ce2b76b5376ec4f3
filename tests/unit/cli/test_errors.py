"""What `errors` tells to type next can be typed."""

from __future__ import annotations

import shlex

import pytest

from cascade_batch.cli.errors import next_step
from cascade_batch.results import FailureGroup

LONG = "small: HTTP 400: the content policy of this server refuses this call: badly worded request"


@pytest.mark.parametrize(
    "error", [LONG, "short: no", f"{'x' * 80} and more", "small: HTTP 400: two\nlines"]
)
def test_the_reason_is_made_of_whole_words_of_the_message(error: str):
    for reason in ("refused", "lost"):
        step = next_step("j", FailureGroup(reason, 2, error, "r-1", 1, 2), 0)

        words = shlex.split(step)[-1]
        assert words
        assert error.startswith(words)
        assert error[len(words) : len(words) + 1].strip() == ""


def test_the_file_of_failures_is_called_what_it_will_be():
    step = next_step("j", FailureGroup("refused", 2, LONG, "r-1", 1, 2), 0)

    assert "results j -o out.jsonl" in step
    assert "out.errors.jsonl" in step
    assert "FILE" not in step
