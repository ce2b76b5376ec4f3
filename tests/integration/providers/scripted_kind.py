"""The scripted provider under the same suite: a script with one model and one fault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cascade_batch.providers.scripted import FaultKind, ScriptedProvider, script_from
from tests.integration.providers.loopback import HUGE_BYTES
from tests.integration.providers.scenes import Scene, Trouble


@dataclass
class _Served:
    provider: ScriptedProvider

    @property
    def url(self) -> str:
        return self.provider.url

    def calls(self) -> int:
        return self.provider.bill()["calls_total"]


class ScriptedKind:
    """Acts what a script has a fault for."""

    def plays(self, scene: Scene, wire: dict[str, Any]) -> bool:
        """See `ServerKind`."""
        if scene.trouble is Trouble.REFUSAL and wire.get("endpoint") == "completions":
            return False
        return scene.trouble is Trouble.NONE or scene.trouble in set(FaultKind)

    @asynccontextmanager
    async def serve(self, scene: Scene) -> AsyncIterator[_Served]:
        """See `ServerKind`."""
        model: dict[str, Any] = {
            "price": {"input": 1, "output": 1},
            "reasoning_tokens": scene.reasoning_tokens,
            "cached_input_tokens": scene.cached_input_tokens,
            "answers": [
                {
                    "text": scene.text,
                    "output_tokens": scene.output_tokens,
                    "logprob": scene.logprob,
                    "top_logprobs": dict(scene.alternatives),
                }
            ],
        }
        async with ScriptedProvider(
            script_from({"models": {"model": model}, "faults": _faults(scene)})
        ) as provider:
            yield _Served(provider)


def _faults(scene: Scene) -> list[dict[str, Any]]:
    if scene.trouble is Trouble.NONE:
        return []
    fault: dict[str, Any] = {"kind": str(scene.trouble)}
    if scene.status is not None:
        fault["status"] = scene.status
    if scene.retry_after_s is not None:
        fault["retry_after_s"] = scene.retry_after_s
    if scene.trouble is Trouble.REDIRECT:
        fault["location"] = scene.location
    if scene.trouble is Trouble.SLOW_DRIP:
        fault["duration_s"] = scene.duration_s
    if scene.trouble is Trouble.HUGE_BODY:
        fault["bytes"] = HUGE_BYTES
    return [fault]
