"""What `doctor` finds on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_batch.local.doctor import Check, Level, checks
from cascade_batch.local.stack import ensure_stack
from cascade_batch.settings import Settings
from tests.integration.local.stacks import kill, refs

TIERS = """
tiers:
  - {name: small, model: m, price: {input: 1, output: 1}, api_key_env: DOCTOR_TEST_KEY}
  - {name: large, model: n, price: {input: 1, output: 1}}
"""


def _by_name(settings: Settings, cwd: Path) -> dict[str, Check]:
    return {check.name: check for check in checks(settings, cwd=cwd)}


def test_before_the_first_command(settings: Settings, tmp_path: Path) -> None:
    found = _by_name(settings, tmp_path)
    assert {"programs", "disk", "open files", "keys"} <= set(found)
    assert all(check.level is not Level.BAD for check in found.values())
    assert not settings.home.exists()


def test_a_running_stack(running: Settings, tmp_path: Path) -> None:
    found = _by_name(running, tmp_path)
    assert found["stack"].level is Level.OK
    assert "postgres" in found["stack"].what
    assert "MiB" in found["stack"].what
    assert found["clock"].level is Level.OK


def test_a_killed_supervisor(settings: Settings, tmp_path: Path) -> None:
    ensure_stack(settings)
    kill(refs(settings)["supervisor"])
    stack = _by_name(settings, tmp_path)["stack"]
    assert stack.level is Level.WARN
    assert "cascade-batch up" in str(stack.todo)


def test_keys_are_named_and_never_shown(
    running: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiers.yaml").write_text(TIERS)
    monkeypatch.delenv("DOCTOR_TEST_KEY", raising=False)
    keys = _by_name(running, tmp_path)["keys"]
    assert keys.level is Level.BAD
    assert "DOCTOR_TEST_KEY" in keys.what
    assert "export DOCTOR_TEST_KEY=" in str(keys.todo)
    monkeypatch.setenv("DOCTOR_TEST_KEY", "sk-canary-doctor")
    keys = _by_name(running, tmp_path)["keys"]
    assert keys.level is Level.OK
    assert "canary" not in keys.what


def test_an_unusable_tiers_file_is_a_finding(running: Settings, tmp_path: Path) -> None:
    (tmp_path / "tiers.yaml").write_text("tiers: [{name: small}]")
    assert _by_name(running, tmp_path)["keys"].level is Level.BAD


def test_a_database_that_is_away(tmp_path: Path) -> None:
    own = Settings("postgresql://u:canary@127.0.0.1:1/x", "redis://127.0.0.1:1", tmp_path)
    clock = _by_name(own, tmp_path)["clock"]
    assert clock.level is Level.BAD
    assert "canary" not in clock.what
