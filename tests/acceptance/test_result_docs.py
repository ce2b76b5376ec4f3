"""What docs/results-in-sql.md and docs/errors-and-reruns.md tell a reader to type does work; and sessions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pyarrow.parquet as pq
import pytest

from benchmarks.rig import Rig
from cascade_batch.local.wheels import installed_postgres

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(bash|sql|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"enum": ["good", "bad"]},
        "score": {"type": "integer"},
        "words": {"type": "array", "items": {"type": "string"}},
        "place": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def row(no: int, note: str = "") -> dict[str, str]:
    said = {
        "label": "good",
        "score": no,
        "words": ["w", note],
        "place": {"city": "Bern", "country": "CH"},
    }
    return {
        "id": f"r-{no}",
        "product": f"kettle {no} #up",
        "label": "good",
        "json": json.dumps(said),
    }


@pytest.fixture(scope="module")
def reviews(user: Rig) -> tuple[Rig, dict[str, str]]:
    """A finished job whose second row failed, and an environment in which commands are found."""
    lines = [json.dumps(row(0)), json.dumps(row(1, "poison")), json.dumps(row(2))]
    (user.folder / "reviews.data.jsonl").write_text("\n".join(lines))
    tiers = json.loads((user.folder / "locked.yaml").read_text())
    tiers["tiers"][0] |= {"api_key_env": None, "max_output_tokens": 200}
    (user.folder / "reviews.yaml").write_text(json.dumps(tiers))
    user.run(
        "submit", "reviews.data.jsonl", "--name", "reviews", "--budget", "1", "--tiers", "reviews.yaml",
        "--prompt", "{{ json }}", "--output", json.dumps({"schema": SCHEMA}),
    )  # fmt: skip
    commands = user.folder / "commands"
    commands.mkdir()
    launcher = commands / "cascade-batch"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cascade_batch "$@"\n')
    launcher.chmod(0o755)
    # A pg_dump that is older than the server refuses it.
    places = [str(commands), str(installed_postgres() / "bin"), os.environ["PATH"]]
    return (
        user,
        {
            **user.environment,
            "PATH": os.pathsep.join(places),
            "PYTHONPATH": os.pathsep.join([str(DOCS.parent), os.environ.get("PYTHONPATH", "")]),
            "XDG_STATE_HOME": str(user.folder / "state"),
            "TERM": "dumb",
        },
    )


@pytest.mark.parametrize("page", ["results-in-sql.md", "errors-and-reruns.md"])
def test_the_page_tells_the_truth(reviews: tuple[Rig, dict[str, str]], page: str) -> None:
    user, environment = reviews
    script = ["set -euo pipefail"]
    blocks = _BLOCK.findall((DOCS / page).read_text("utf-8"))
    for number, (language, body) in enumerate(blocks):
        place = user.folder / f"block-{number}"
        place.write_text(body, "utf-8")
        run = {
            "bash": body,
            "sql": f"cascade-batch sql - < {place.name}",
            "python": f"{sys.executable} {place.name}",
        }
        script.append(f"echo block {number}; {run[language]}")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=user.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    if page == "results-in-sql.md":
        assert "kettle 2 #up,2,w,Bern,CH" in done.stdout
        assert "good,good,2" in done.stdout
        table = pq.read_table(user.folder / "reviews.parquet")
        assert table.column("score").to_pylist() == [0, None, 2]
        assert "CREATE TABLE cascade_store.job" in (user.folder / "schema.sql").read_text()
    else:
        assert "1 row refused by the provider" in done.stdout
        assert "Example  row 1, custom_id r-1, line 2" in done.stdout
        assert "retry reviews --failed --reason 'locked: " in done.stdout
        assert "1 row of job 'reviews' that failed is asked once more" in done.stderr
        assert "OK:" in done.stdout
        (failed,) = map(json.loads, (user.folder / "reviews.errors.jsonl").read_text().splitlines())
        assert (failed["reason"], failed["row"]) == ("refused", row(1, "poison"))
        (mended,) = user.results("reviews-mended")
        assert (mended["custom_id"], mended["status"]) == ("r-1", "answered")


@pytest.mark.parametrize("options", [[], ["--no-psql"]], ids=["psql", "our own prompt"])
def test_a_session_reads_and_writes_nothing(
    reviews: tuple[Rig, dict[str, str]], options: list[str]
) -> None:
    user, environment = reviews
    child = pexpect.spawn(
        sys.executable,
        ["-m", "cascade_batch", "sql", "reviews", *options],
        cwd=str(user.folder),
        env={**environment, "PAGER": "cat"},
        encoding="utf-8",
        timeout=30,
        dimensions=(50, 200),
    )
    child.expect("results.reviews: row_no integer, custom_id text, .*place_city text")
    for query, answer in (
        ("SELECT count(*) AS n,\n current_user FROM reviews;", r"3 .*cascade_reader"),
        ("SELECT 1 FROM cascade_store.job;", "permission denied"),
        ("CREATE TABLE public.mine (x int);", "read-only transaction|permission denied"),
        ("SELECT place_city FROM reviews WHERE row_no = 2;", "Bern"),
    ):
        child.sendline(query)
        child.expect(answer)
    child.sendline("\\q")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
