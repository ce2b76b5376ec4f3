"""Errors as a Python program meets them, and as the command line's user does."""

from __future__ import annotations

import asyncio

import pytest

from cascade_batch.client.python_words import python_words
from cascade_batch.errors import BudgetError
from cascade_batch.words import argument, choose, command, place


@pytest.mark.parametrize(
    ("say", "at_the_command_line", "in_python"),
    [
        (lambda: argument("name"), "--name", "name="),
        (lambda: argument("budget", "0.05"), "--budget 0.05", "budget=0.05"),
        (lambda: argument("skip_bad", True), "--skip-bad", "skip_bad=True"),
        (lambda: place("chunk_rows"), "--chunk-rows", "chunk_rows"),
        (
            lambda: command("resume", "a b", "--retry-failed", call="resume(retry_failed=True)"),
            "cascade-batch resume 'a b' --retry-failed",
            "cascade_batch.job('a b').resume(retry_failed=True)",
        ),
        # Python has no such call.
        (lambda: command("delete", "x"), "cascade-batch delete x", "cascade-batch delete x"),
        (lambda: choose(command_line="a", python="b"), "a", "b"),
    ],
)
def test_what_is_to_be_typed_is_called_as_the_reader_types_it(say, at_the_command_line, in_python):
    assert say() == at_the_command_line
    with python_words():
        assert say() == in_python
    assert say() == at_the_command_line


def test_tasks_and_threads_speak_as_those_that_started_them():
    async def both() -> list[str]:
        with python_words():
            return [await asyncio.to_thread(place, "skip_bad"), place("skip_bad")]

    async def all_of_them() -> list[object]:
        task = asyncio.create_task(both())
        return [*await task, place("skip_bad")]

    assert asyncio.run(all_of_them()) == ["skip_bad", "skip_bad", "--skip-bad"]


def test_a_hint_is_a_note_of_the_traceback_and_what_others_wrote_stays_as_it_is():
    with (
        pytest.raises(BudgetError) as raised,
        python_words(),
        python_words(),
    ):
        raise BudgetError("job '--limit' is too dear", hint=f"Give {argument('limit', 5)}.")

    assert str(raised.value) == "job '--limit' is too dear"
    assert raised.value.__notes__ == ["Give limit=5."]
