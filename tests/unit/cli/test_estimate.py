"""`estimate` and `submit --dry-run`: what a job would cost, before anything is spent."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest

from cascade_batch.cli.estimate import _print_curve

TIERS = """\
tiers:
  - {name: small, model: m, price: {input: 1, output: 2}, max_output_tokens: 100}
  - {name: large, model: m, price: {input: 10, output: 20}, max_output_tokens: 100}
"""


@pytest.fixture
def data(folder):
    (folder / "tiers.yaml").write_text(TIERS)
    lines = [json.dumps({"text": f"row {i}", "label": "up"}) for i in range(100)]
    (folder / "data.jsonl").write_text("\n".join(lines))
    return "data.jsonl"


def estimate(run, *arguments: str) -> dict:
    result = run("estimate", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_worst_cases_and_likely_costs_are_given_per_tier(run, data):
    found = estimate(run, data, "--prompt", "{{ text }}")

    assert found["rows"] == 100
    small, large = found["tiers"]["small"], found["tiers"]["large"]
    assert 0 < small["likely_usd"] < small["worst_case_usd"]
    assert large["worst_case_usd"] == pytest.approx(10 * small["worst_case_usd"])
    assert found["minimum_budget_usd"] == small["worst_case_usd"]
    assert found["budget_usd"] is None


def test_a_short_declared_answer_is_likely_cheaper(run, data):
    free = estimate(run, data, "--prompt", "{{ text }}")
    choice = estimate(run, data, "--prompt", "{{ text }}", "--output", "{choices: [up, down]}")

    assert choice["tiers"]["small"]["likely_usd"] < free["tiers"]["small"]["likely_usd"] / 2


def test_what_a_budget_can_buy(run, data):
    whole = estimate(run, data, "--prompt", "{{ text }}")
    small, large = (whole["tiers"][name]["likely_usd"] for name in ("small", "large"))

    found = estimate(run, data, "--prompt", "{{ text }}", "--budget", str(small + large / 2))

    assert found["tiers"]["large"]["rows_after_drafts"] in (49, 50)
    assert found["affordable_rows"] == 100


def test_people_see_a_table_and_what_is_needed(run, data):
    result = run("estimate", data, "--prompt", "{{ text }}", "--budget", "0.000001")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("Tier   Model  At worst")
    assert "would be refused" in result.stderr
    assert "Likely costs are rough guesses by length" in result.stderr


def test_the_least_budget_is_the_one_that_a_submission_takes(run, data):
    told = run("estimate", data, "--prompt", "{{ text }}").stderr
    (least,) = re.findall(r"a budget of \$(\S+) or more\.", told)

    def submit(budget: str):
        return run("submit", data, "--prompt", "{{ text }}", "--budget", budget, "--dry-run")

    assert submit(least).exit_code == 0
    refused = submit(str(Decimal(least) * Decimal("0.99")))
    assert refused.exit_code == 2
    assert f"--budget {least} or more" in refused.stderr


def pilot(*points: tuple[float, float, bool], measured: bool) -> dict:
    return {
        "job": "data-pilot", "rows": 40, "spent_usd": 0.01, "measured": measured, "tiers": {},
        "points": [
            {"budget_usd": usd, "quality": quality, "low": quality - 0.1, "high": quality + 0.1,
             "supported": supported}
            for usd, quality, supported in points
        ],
        "recommended": {"budget_usd": points[0][0], "quality": points[0][1], "rule": "the least"},
    }  # fmt: skip


def test_budgets_of_which_the_same_is_expected_are_one_line(capsys):
    flat = [(0.25 * 1.5**no, 0.849, True) for no in range(9)]
    _print_curve(pilot(*flat, (12.0, 0.9, False), (14.0, 0.9, False), measured=True))

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        "$0.2500 0.849 0.749 to 0.949 the same up to $6.41",
        "$12.00 0.900 0.800 to 1.000 the same up to $14.00, no support",
    ]


def test_a_row_that_cannot_be_asked_is_named(run, data, folder):
    with (folder / data).open("a") as file:
        file.write('\n{"txt": "no text"}\n')

    result = run("estimate", data, "--prompt", "{{ text }}")

    assert result.exit_code == 2
    assert "data.jsonl:101: " in result.stderr
    assert result.stdout == ""


def test_bad_rows_can_be_left_out(run, data, folder):
    with (folder / data).open("a") as file:
        file.write('\n{"txt": "no text"}\nnot json\n')

    result = run("estimate", data, "--prompt", "{{ text }}", "--skip-bad", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["rows"] == 100
    assert "left out: data.jsonl:101: " in result.stderr
    assert "left out: data.jsonl:102: " in result.stderr


def test_rows_can_come_from_standard_input(run, data, folder):
    result = run("estimate", "-", "--prompt", "{{ text }}", "--json", input='{"text": "a"}\n')

    assert json.loads(result.stdout)["rows"] == 1


@pytest.mark.parametrize(
    ("option", "what"), [("--gold", "gold column"), ("--strata", "column to group rows by")]
)
def test_a_missing_column_is_an_error(run, data, option, what):
    result = run("estimate", data, "--prompt", "{{ text }}", option, "lable")

    assert result.exit_code == 2
    assert f"no record has the {what} 'lable'" in result.stderr
    assert "text, label" in result.stderr


def test_a_dry_run_refuses_what_a_submission_would_refuse(run, data):
    refused = run("submit", data, "--prompt", "{{ text }}", "--budget", "0.01", "--dry-run")
    accepted = run("submit", data, "--prompt", "{{ text }}", "--budget", "1", "--dry-run")

    assert refused.exit_code == 2
    assert "can't answer all 100 rows" in refused.stderr
    assert "--limit" in refused.stderr
    assert accepted.exit_code == 0
    assert accepted.stdout.startswith("Tier")


def test_the_order_of_tiers_is_a_warning(run, data, folder):
    lines = TIERS.splitlines()
    (folder / "tiers.yaml").write_text("\n".join([lines[0], lines[2], lines[1]]))

    result = run("estimate", data, "--prompt", "{{ text }}")

    assert result.exit_code == 0
    assert "Warning: Tiers should be listed from cheap to dear" in result.stderr
