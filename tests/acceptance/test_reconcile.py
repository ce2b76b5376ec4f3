"""A call that was cut off: its money is held, told of, and given back by name."""

from __future__ import annotations

import json

from benchmarks.rig import Rig

from .conftest import ASK


def test_money_held_for_a_lost_call_comes_back_by_name(user: Rig) -> None:
    (user.folder / "cut.jsonl").write_text(json.dumps({"headline": "unplugged #up"}) + "\n")
    user.run("submit", "cut.jsonl", "--budget", "0.01", "--name", "cut", *ASK)
    status = user.status("cut")
    (lost,) = status["at_risk_calls"]
    assert (lost["calls"], lost["worst_nanousd"]) == (1, status["at_risk_nanousd"])
    assert lost["reason"] in user.run("status", "cut")
    assert user.run("audit", "cut").splitlines()[1].startswith("AT RISK: ")

    spent = status["spent_nanousd"]
    known = f"{(spent + status['at_risk_nanousd']) / 1e9:.9f}"
    assert user.run("audit", "cut", "--bill", known).startswith("OK")
    more = user.call("audit", "cut", "--bill", f"{float(known) + 1e-6:.9f}")
    assert more.returncode == 1
    assert "above what the ledger knows of" in more.stdout

    listed = user.json("reconcile", "cut", "--json")
    (call,) = listed["calls"]
    assert (call["custom_id"], call["tier"], call["reason"]) == ("0", lost["tier"], lost["reason"])
    refused = user.call("reconcile", "cut", "--release", "--yes")
    assert refused.returncode == 2
    assert "--because" in refused.stderr
    assert user.status("cut")["at_risk_nanousd"] == lost["worst_nanousd"]

    done = user.json(
        "reconcile", "cut", "--call", str(call["call"]), "--release", "--yes", "--json",
        "--by", "Ada", "--because", "not on invoice 7",
    )  # fmt: skip
    assert (done["released"], done["at_risk_usd"]) == (1, 0)
    assert user.status("cut")["at_risk_calls"] == []
    assert user.run("audit", "cut").startswith("OK")
    (entry,) = user.json("sql", "SELECT actor, reason FROM cascade.ledger WHERE kind = 'reconcile'")
    assert entry == {"actor": "Ada", "reason": "not on invoice 7"}
    assert "No call" in user.call("reconcile", "cut").stderr
