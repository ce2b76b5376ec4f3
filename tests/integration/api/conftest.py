"""A person at a Python prompt: an embedded stack that starts by itself, a scripted provider, a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade_batch.providers.scripted import spawn_provider
from cascade_batch.settings import settings
from tests.integration.folders import server_folder
from tests.integration.local.stacks import stop_now

SCRIPT = """\
models:
  small: &rules
    price: {input: 0.15, output: 0.6}
    answers:
      - {match: as JSON, text: '{"label": "up", "score": 3, "share": 0.5, "sure": true, "words": ["gold"]}'}
      - {match: jumps|soars|rises, text: up}
      - {match: falls, text: down}
      - {match: Everything, text: perhaps}
      - {match: ., text: none}
  large: {<<: *rules, price: {input: 2.5, output: 10}}
  slow: {<<: *rules, latency_ms: 2000}
faults:
  - {kind: bad_request, match: poison}
"""
TIERS = """\
tiers:
  - {{name: small, model: small, base_url: "{url}", price: {{input: 0.15, output: 0.6}},
      max_output_tokens: 64, logprobs: true}}
  - {{name: large, model: large, base_url: "{url}", price: {{input: 2.5, output: 10}},
      max_output_tokens: 64, logprobs: true}}
"""


@pytest.fixture(scope="package")
def url() -> Iterator[str]:
    """Address of the provider; the stack of this process's own runs beside it."""
    with server_folder("cascade-api-") as folder, pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("CASCADE_")]:
            patch.delenv(name)
        patch.setenv("CASCADE_HOME", str(folder / "home"))
        settings.cache_clear()
        ready = settings()
        (folder / "script.yaml").write_text(SCRIPT)
        try:
            with spawn_provider(folder / "script.yaml") as provider:
                yield provider.url
        finally:
            stop_now(ready)
            settings.cache_clear()


@pytest.fixture
def folder(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a tiers file."""
    (tmp_path / "tiers.yaml").write_text(TIERS.format(url=url))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def slow_tiers(url: str) -> list[dict[str, object]]:
    """One call at a time, two seconds each."""
    return [
        {
            "name": "small",
            "model": "slow",
            "base_url": url,
            "price": {"input": 0.15, "output": 0.6},
            "max_output_tokens": 8,
            "limits": {"concurrency": 1},
        }
    ]
