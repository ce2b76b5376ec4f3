"""A folder to write job and tiers files into, with nothing of the user's own in reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

Write = Callable[..., Path]

TIERS = """\
tiers:
  - name: small
    model: gpt-4o-mini
    api_key_env: OPENAI_API_KEY
    max_output_tokens: 16
  - name: large
    model: gpt-4o
    api_key_env: OPENAI_API_KEY
    max_output_tokens: 16
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return folder


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a file into the folder: `write("job.yaml", text)`."""

    def write(name: str, text: str = TIERS) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), "utf-8")
        return path

    return write
