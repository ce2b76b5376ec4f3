"""`api: python`: a tier whose model is a function of the user's.

    tiers:
      - name: rules
        api: python
        function: labels.by_keyword      # labels.py beside the job file
        price: {call: 0.0001}            # USD per call; or second, or input and output

The function gets one argument, a dictionary with `prompt` (text of the last user message), `system`
(text of the system messages, or None), `messages` (all of them, as a chat has them) and `params`
(the tier's). It returns the answer's text, or a dictionary with `text` and, as far as it knows them,
`logprobs` (list of numbers), `top_logprobs` (of the first token: token -> number), `input_tokens`,
`output_tokens` and `finish_reason`. Tokens that it does not give count as none, so a price per call
or per second is what fits most functions.

A coroutine function is awaited. Any other function runs in a thread; one that only computes for some
microseconds can say so with an attribute, `by_keyword.runs_inline = True`, and is called directly.

An exception fails the row on this tier, as a function that does not know a row may say so by
raising. A function that takes longer than the tier's `timeout_s` is given up, though a thread can't
be stopped: it may have paid somebody, so the call is written off like any other time-out.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson

from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused, Reply, Unknown
from cascade_batch.domain.job import Output
from cascade_batch.domain.money import Usage
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.errors import UsageError
from cascade_batch.providers.body import content_text
from cascade_batch.providers.credentials import presentable
from cascade_batch.providers.provider import PerTier
from cascade_batch.providers.reading import finish_reason_of, is_count, storable

MAX_THREADS = 64
"""Functions that run at once in threads, over all tiers of the process."""

Function = Callable[[dict[str, Any]], Any]


class PythonFunctionProvider:
    """Calls functions of the user's instead of a server."""

    def __init__(self) -> None:
        self._functions: PerTier[Function | Refused] = PerTier(_load)
        self._threads: ThreadPoolExecutor | None = None
        self._free = asyncio.Semaphore(MAX_THREADS)

    def request_body(self, tier: Tier, prompt: Prompt, output: Output) -> bytes:  # noqa: ARG002
        """See `Provider.request_body`."""
        try:
            return orjson.dumps({"messages": prompt.messages})
        except TypeError as error:
            raise UsageError(f"The messages can't be written as JSON: {error}.") from None

    def body_family(self, tier: Tier) -> str:  # noqa: ARG002
        """See `Provider.body_family`."""
        return "python"

    def request_end(self, tier: Tier, output: Output) -> bytes:  # noqa: ARG002
        """See `Provider.request_end`."""
        return b""

    def answerer(self, tier: Tier) -> bytes | None:  # noqa: ARG002
        """Nobody knows: the function's code may have changed since."""
        return None

    async def call(self, tier: Tier, body: bytes) -> Outcome:
        """See `Provider.call`."""
        function = self._functions[tier]
        if isinstance(function, Refused):
            return function
        argument = _argument(tier, orjson.loads(body)["messages"])
        in_thread = not (inspect.iscoroutinefunction(function) or _runs_inline(function))
        if in_thread:
            # Waiting for a thread is no part of the call: its time starts when it can run.
            await self._free.acquire()
        started_s = time.perf_counter()
        limit = asyncio.timeout(tier.timeout_s)
        try:
            async with limit:
                run = self._run_in_thread(function, argument) if in_thread else function(argument)
                returned = await run if inspect.isawaitable(run) else run
                # What is called in a thread may be an object whose `__call__` is a coroutine.
                returned = await returned if inspect.isawaitable(returned) else returned
            latency_ms = (time.perf_counter() - started_s) * 1000.0
            return Answered(_reply(returned, latency_ms))
        except (Exception, SystemExit) as error:
            if isinstance(error, TimeoutError) and limit.expired():
                text = f"{_name(tier)} took longer than {tier.timeout_s:g} s"
                return Unknown("timeout", presentable(text))
            text = f"{_name(tier)} raised {type(error).__name__}: {error}"
            return Refused(RefusalKind.ROW, presentable(text))

    async def close(self) -> None:
        """Let go of the threads; functions that still run are not waited for."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def _run_in_thread(self, function: Function, argument: dict[str, Any]) -> Any:
        if self._threads is None:
            # Not the loop's own threads: those look up host names, and have to stay free for it.
            self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="python-tier")
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, _caught, function, argument)
        # The place is free when the thread is, not when nobody waits for it any more.
        running.add_done_callback(lambda _: self._free.release())
        returned, error = await asyncio.shield(running)
        if error is not None:
            raise error
        return returned


def _caught(function: Function, argument: dict[str, Any]) -> tuple[Any, BaseException | None]:
    try:
        return function(argument), None
    except StopIteration as error:
        # The one exception that can't be raised out of a coroutine.
        return None, RuntimeError(f"StopIteration: {error}")
    except BaseException as error:  # A user's sys.exit() must not be lost in a thread.
        return None, error


def _runs_inline(function: Function) -> bool:
    return bool(getattr(function, "runs_inline", False))


def _argument(tier: Tier, messages: list[dict[str, Any]]) -> dict[str, Any]:
    system = [content_text(m.get("content")) for m in messages if m.get("role") == "system"]
    prompts = [content_text(m.get("content")) for m in messages if m.get("role") == "user"]
    return {
        "prompt": prompts[-1] if prompts else "",
        "system": "\n\n".join(system) if system else None,
        "messages": messages,
        "params": tier.params,
    }


def _reply(returned: Any, latency_ms: float) -> Reply:
    """Read what a function returned.

    Raises:
        TypeError: It is not of the form that the module's documentation describes.
    """
    said = {"text": returned} if isinstance(returned, str) else returned
    if not isinstance(said, dict) or not isinstance(said.get("text"), str):
        raise TypeError(
            f"it returned {returned!r:.100}, which is neither a text nor a dictionary with a 'text'"
        )
    counts = [said.get(name) or 0 for name in ("input_tokens", "output_tokens")]
    if not all(is_count(count) for count in counts):
        raise TypeError(f"it returned {counts} as input_tokens and output_tokens")
    logprobs = said.get("logprobs")
    top_logprobs = said.get("top_logprobs")
    return Reply(
        text=storable(said["text"]),
        finish_reason=finish_reason_of(said.get("finish_reason", "stop"), {}),
        usage=Usage(input_tokens=counts[0], output_tokens=counts[1]),
        logprobs=None if logprobs is None else tuple(float(value) for value in logprobs),
        top_logprobs=None
        if top_logprobs is None
        else {storable(str(token)): float(value) for token, value in top_logprobs.items()},
        latency_ms=latency_ms,
    )


def _name(tier: Tier) -> str:
    return tier.function or tier.model


def _load(tier: Tier) -> Function | Refused:
    module_name, _, function_name = _name(tier).rpartition(".")
    try:
        if not module_name:
            raise ImportError(f"{function_name!r} is not of the form module.function")
        function = getattr(_module(module_name, tier.python_path), function_name)
        if not callable(function):
            raise TypeError(f"{_name(tier)} is no function")
    except (Exception, SystemExit) as error:
        where = f" from {tier.python_path}" if tier.python_path else ""
        text = (
            f"Tier {tier.name!r}: {_name(tier)} can't be imported{where}:"
            f" {type(error).__name__}: {error}"
        )
        return Refused(RefusalKind.TIER, presentable(text))
    else:
        loaded: Function = function
        return loaded


_folders: set[str] = set()
"""Folders of users' functions that were imported from."""


def _module(name: str, folder: str | None) -> ModuleType:
    """Import a module, first from `folder`.

    Two jobs may each have a `labels.py` beside their job file, and one worker serves both. So what
    came from another job's folder is forgotten before; it lives on in the functions taken from it.
    """
    if folder is None:
        return importlib.import_module(name)
    folder = os.path.abspath(folder)
    others = _folders - {folder}
    stale = {top for top, module in list(sys.modules.items()) if _home(module) in others}
    for loaded in [m for m in sys.modules if m.partition(".")[0] in stale]:
        del sys.modules[loaded]
    sys.path[:] = [folder, *(path for path in sys.path if path not in _folders | {folder})]
    _folders.add(folder)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _home(module: Any) -> str | None:
    """The folder that a top-level module or package lies in."""
    spec = getattr(module, "__spec__", None)
    if spec is None or "." in spec.name or not isinstance(spec.origin, str):
        return None
    path = Path(spec.origin)
    return str(path.parent.parent if path.name == "__init__.py" else path.parent)
