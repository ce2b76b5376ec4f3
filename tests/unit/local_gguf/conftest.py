"""The small real model, where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cascade_batch.domain.tier import Tier
from cascade_batch.providers.local_gguf import CATALOGUE, pip_command

MODEL = CATALOGUE["smollm2-135m-instruct"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own; no model server that was started for it is left behind."""
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CASCADE_GGUF_THREADS", "1")
    others = set(psutil.Process().children())  # servers of other tests
    yield tmp_path / "home"
    started = set(psutil.Process().children()) - others
    _, alive = psutil.wait_procs(started, timeout=20)
    for process in alive:
        process.kill()
    assert not alive, "a model server outlived those who used it"


@pytest.fixture
def small(home: Path) -> Tier:
    """A tier on the small model."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("llama.cpp is not installed: pip install 'cascade-batch[local]'")
    if importlib.util.find_spec(MODEL.parts[0][0]) is None:
        pytest.skip(f"the small model is not installed: {pip_command(MODEL)}")
    return Tier(
        name="small", api="local", model=MODEL.name, max_output_tokens=8, logprobs=True,
        context_tokens=512,
    )  # fmt: skip
