"""Arguments that the Python API does not have, or that are of a kind that means nothing."""

from __future__ import annotations

import inspect

import pytest

import cascade_batch
from cascade_batch import CascadeError


@pytest.mark.parametrize(
    ("call", "given", "meant"),
    [
        (cascade_batch.submit, "promt", "prompt"),
        (cascade_batch.submit, "budgets", "budget"),
        (cascade_batch.estimate, "promt", "prompt"),
        (cascade_batch.estimate, "pilots", "pilot"),
        (cascade_batch.Job("x").wait, "timeout", "timeout_s"),
        (cascade_batch.Job("x").retry, "reasn", "reason"),
    ],
)
def test_an_argument_that_there_is_none_of_is_told_with_the_one_that_may_be_meant(
    call, given, meant
):
    with pytest.raises(TypeError, match=f"has no argument '{given}'") as raised:
        call(**{given: 1})

    assert isinstance(raised.value, CascadeError)
    assert raised.value.message.endswith(f"Did you mean '{meant}'?")
    (note,) = raised.value.__notes__
    assert all(name in note for name in inspect.signature(call).parameters if name != "job")
    assert f"help(cascade_batch.{call.__qualname__.replace('JobControls', 'Job')})" in note


@pytest.mark.parametrize(
    ("given", "written"),
    [("choices", "output={'choices'"), ("labels", "gold="), ("model", "tiers=")],
)
def test_an_argument_of_another_name_elsewhere_is_told_with_ours(given, written):
    with pytest.raises(TypeError) as raised:
        cascade_batch.submit(**{given: 1})

    assert f"Write {written}" in str(raised.value)


def test_words_given_as_the_output_are_told_how_choices_are_written():
    with pytest.raises(CascadeError, match="output must be a dict") as raised:
        cascade_batch.submit([{"prompt": "hi"}], output=["up", "down"], budget=1)

    assert "output={'choices': ['up', 'down']}" in (raised.value.hint or "")
