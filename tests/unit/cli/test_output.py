"""Data on standard output."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from cascade_batch.cli.output import latency_text, make_console, print_json, print_table, usd
from cascade_batch.client.expectation import quality_text


def test_money_in_json_has_all_its_digits(capsys):
    print_json({"a": usd(1), "b": usd(9_223_372_036_854_775_807), "c": usd(0), "d": usd(10**10)})

    text = capsys.readouterr().out
    assert json.loads(text, parse_float=Decimal) == {
        "a": Decimal("0.000000001"),
        "b": Decimal("9223372036.854775807"),
        "c": 0,
        "d": 10,
    }
    assert text.endswith("}\n")


def test_lines_of_a_table_are_never_folded_in_a_pipe(capsys):
    print_table(["Name", "N"], [["x" * 500, "1"], ["[bold]y", "1,000"]], right=" r")

    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{'Name':500}      N",
        f"{'x' * 500}      1",
        f"{'[bold]y':500}  1,000",
    ]


def test_what_is_not_known_is_a_dash():
    assert (quality_text(None), latency_text(None)) == ("-", "-")
    assert (quality_text(0.5), latency_text(9999.4)) == ("0.500", "9,999 ms")


@pytest.mark.parametrize(("columns", "width"), [("80", 80), ("", 100), ("wide", 100)])
def test_what_is_drawn_into_a_pipe_is_as_wide_as_columns_says(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)

    assert make_console().width == width
