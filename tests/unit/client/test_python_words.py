"""Errors as a Python program meets them."""

from __future__ import annotations

import pytest

from cascade_batch.client.python_words import in_python, python_words
from cascade_batch.errors import BudgetError


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Give --budget 0.05, or take --limit 1,234.", "Give budget=0.05, or take limit=1234."),
        ("Say what to ask: --prompt 'Up, or down?'", "Say what to ask: prompt='Up, or down?'"),
        ("--budget: 'x' is no amount", "budget: 'x' is no amount"),
        ("leave bad records out with --skip-bad.", "leave bad records out with skip_bad=True."),
        ("(--gold, or gold: in the job file)", "(gold, or gold: in the job file)"),
        ("`cascade-batch resume x --retry-failed`, or another --name.",
         "`cascade-batch resume x --retry-failed`, or another name."),
        ("Raise it: cascade-batch budget x --add 5", "Raise it: cascade-batch budget x --add 5"),
    ],
)  # fmt: skip
def test_options_of_the_command_line_are_arguments_in_python(said, meant):
    assert in_python(said) == meant


def test_a_hint_is_a_note_of_the_traceback_and_stands_there_once():
    with (
        pytest.raises(BudgetError, match="limit is too low") as raised,
        python_words(),
        python_words(),
    ):
        raise BudgetError("--limit is too low", hint="Give --limit 5.")

    assert str(raised.value) == "limit is too low"
    assert raised.value.__notes__ == ["Give limit=5."]
