"""What is said where something is not installed or not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cascade_batch.domain.answer import RefusalKind, Refused
from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.errors import UsageError
from cascade_batch.providers import Providers
from cascade_batch.providers.local_gguf import plan_of


async def refusal_of(tier: Tier) -> Refused:
    providers = Providers()
    prompt = Prompt([{"role": "user", "content": "Hello"}])
    outcome = await providers.call(tier, providers.request_body(tier, prompt, Output()))
    await providers.close()
    assert isinstance(outcome, Refused)
    return outcome


async def test_without_llama_cpp_the_command_that_installs_it_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    refused = await refusal_of(Tier(name="small", api="local", model="smollm2-135m-instruct"))
    assert refused.kind is RefusalKind.TIER
    assert "'small'" in refused.message
    assert "pip install 'cascade-batch[local]'" in refused.message


@pytest.fixture
def llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if llama.cpp were installed: nothing here gets as far as to start it."""
    monkeypatch.setattr("cascade_batch.providers.local_gguf.provider.require_llama_cpp", str)


async def test_an_unknown_model_is_answered_with_the_catalogue(home: Path, llama_cpp: None) -> None:
    refused = await refusal_of(Tier(name="small", api="local", model="gpt-5"))
    assert refused.kind is RefusalKind.TIER
    assert "smollm2-135m-instruct" in refused.message


async def test_a_missing_file_is_named(home: Path, llama_cpp: None, tmp_path: Path) -> None:
    missing = tmp_path / "missing.gguf"
    refused = await refusal_of(Tier(name="small", api="local", gguf=str(missing)))
    assert refused.kind is RefusalKind.TIER
    assert str(missing) in refused.message


def test_a_number_of_threads_that_is_none_is_refused(
    home: Path, llama_cpp: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.gguf"
    model.touch()
    monkeypatch.setenv("CASCADE_GGUF_THREADS", "all")
    with pytest.raises(UsageError, match="CASCADE_GGUF_THREADS"):
        plan_of(Tier(name="small", api="local", gguf=str(model)))
