"""The command line run in this process, in a folder of its own and with an empty environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cascade_batch.cli.main import cli
from cascade_batch.settings import settings

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith("CASCADE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


@pytest.fixture
def run(folder: Path) -> Run:
    """Run a command: `run("estimate", "data.jsonl", env={…})`."""

    def run(*arguments: str, input: str | None = None, env: dict[str, str] | None = None) -> Result:  # noqa: A002
        return CliRunner().invoke(
            cli, list(arguments), input=input, env=env, prog_name="cascade-batch"
        )

    return run
