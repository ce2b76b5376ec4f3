"""The provider without its sockets: takes a request, decides what comes of it, and charges at once.

A call is charged when it is accepted, not when its answer is written: a client that hangs up, or is
killed, does not undo the work of the model.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cascade_batch.providers.scripted.answers import (
    Answers,
    EchoedAnswers,
    RuledAnswers,
    SimulatedAnswers,
    Unmatched,
    sigma_of,
)
from cascade_batch.providers.scripted.bill import Account, CallLog, Rate, Statement, Usage
from cascade_batch.providers.scripted.faults import REFUSALS, FaultPlan, FaultRule
from cascade_batch.providers.scripted.limits import Limiter
from cascade_batch.providers.scripted.outcome import Outcome, answered, refused, spoiled
from cascade_batch.providers.scripted.recording import load_recording
from cascade_batch.providers.scripted.said import Said, token_count
from cascade_batch.providers.scripted.script import ModelScript, Script, Spread
from cascade_batch.providers.scripted.wire import Ask, Format, Unreadable, read_ask


@dataclass(slots=True)
class Call:
    """A call that was decided and charged, and is now to be delivered.

    Attributes:
        outcome: What the client gets.
        delay_s: How long it waits for that.
    """

    outcome: Outcome
    delay_s: float = 0.0
    _model: _Model | None = None
    _account: Account | None = None

    def end(self, *, delivered: bool) -> None:
        """The call was written out, or its client went away. Must be said exactly once."""
        if self._model is not None and self._account is not None:
            self._account.end(answered=delivered and self.outcome.is_answer)
            if self._account is not self._model.account:
                self._model.account.in_flight -= 1


class Provider:
    """Models, faults, limits and the bill of one script.

    Args:
        script: What to do.
        clock: Monotonic seconds.

    Raises:
        DataError: A recording can't be used.
        UsageError: The log can't be written.
    """

    def __init__(self, script: Script, clock: Callable[[], float] = time.monotonic) -> None:
        self._script = script
        self._clock = clock
        answers = _answers_of(script)
        self._models = {
            name: _Model(name, model, answers[name], script.seed, clock())
            for name, model in script.models.items()
        }
        self.log = CallLog(None if script.log is None else script.folder / script.log)
        self._begin()

    @property
    def model_names(self) -> list[str]:
        """The models, in the script's order."""
        return list(self._models)

    def accept(self, format_: Format, body: bytes) -> Call:
        """Take a request in and charge it; `Call.end` must follow."""
        seq = self.log.next_seq()
        try:
            ask = read_ask(format_, body)
        except Unreadable as reason:
            self._unreadable += 1
            return self._turn_away(
                seq, None, None, refused(format_, 400, str(reason)), "unreadable"
            )
        model = self._models.get(ask.model)
        if model is None:
            self._unreadable += 1
            outcome = refused(format_, 404, f"No model is called {ask.model!r} here.")
            return self._turn_away(seq, None, ask, outcome, "unknown_model")
        model.account.calls += 1
        try:
            said = model.answers.answer(ask)
        except Unmatched as reason:
            return self._turn_away(seq, model, ask, refused(format_, 400, str(reason)), "unmatched")
        said, usage = model.generate(ask, said)
        now_s = self._clock()
        tokens = usage.input_tokens + usage.output_tokens
        over = model.limiter.admit(now_s, tokens, model.account.in_flight)
        if over is not None:
            outcome = refused(
                format_,
                429,
                f"Over the limit {over.limit} of {ask.model}.",
                retry_after_s=over.retry_after_s,
            )
            return self._turn_away(seq, model, ask, outcome, f"limit_{over.limit}")
        fault = self._faults.choose(
            ask.model, ask.prompt, ask.prompt_key, now_s - self._started_at_s
        )
        return self._charge(seq, model, ask, said, usage, fault)

    def count_not_routed(self) -> None:
        """A request came for a path that is not served."""
        self._not_routed += 1

    def statement(self) -> Statement:
        """The bill so far."""
        models = {name: model.account.statement() for name, model in self._models.items()}
        parts = models.values()
        calls_total = self._unreadable + sum(part["calls"] for part in parts)
        calls_billed = sum(part["billed"] for part in parts)
        return {
            "calls_total": calls_total,
            "calls_billed": calls_billed,
            "calls_refused": calls_total - calls_billed,
            "calls_unreadable": self._unreadable,
            "not_routed": self._not_routed,
            "duplicates": sum(part["duplicates"] for part in parts),
            "total_nanousd": sum(part["nanousd"] for part in parts),
            "models": models,
        }

    def reset(self) -> None:
        """Begin again: bill, log in memory, limits, counts and draws. Calls in flight go on."""
        for model in self._models.values():
            model.reset(self._clock())
        self.log.forget()
        self._begin()

    def _begin(self) -> None:
        self._faults = FaultPlan(self._script.faults, self._script.seed)
        self._started_at_s = self._clock()
        self._unreadable = 0
        self._not_routed = 0

    def _turn_away(
        self, seq: int, model: _Model | None, ask: Ask | None, outcome: Outcome, why: str
    ) -> Call:
        """A refusal that no fault caused."""
        if model is not None:
            model.account.faults[why] += 1
        self._write_log(seq, ask, outcome, 0, why)
        return Call(outcome)

    def _charge(
        self, seq: int, model: _Model, ask: Ask, said: Said, usage: Usage, fault: FaultRule | None
    ) -> Call:
        account = model.account
        if fault is None:
            outcome = answered(ask, said, usage, seq)
        else:
            account.faults[fault.kind.value] += 1
            outcome = spoiled(ask, said, usage, seq, fault)
        billed = outcome.usage
        nanousd = 0 if billed is None else account.charge(billed, ask.prompt_key)
        self._write_log(seq, ask, outcome, nanousd, None if fault is None else fault.kind.value)
        account.begin()
        return Call(outcome, model.delay_s(fault), model, account)

    def _write_log(
        self, seq: int, ask: Ask | None, outcome: Outcome, nanousd: int, fault: str | None
    ) -> None:
        self.log.write(
            seq=seq,
            model=None if ask is None else ask.model,
            prompt_key=None if ask is None else ask.prompt_key,
            status=outcome.status_sent,
            nanousd=nanousd,
            usage=outcome.usage,
            fault=fault,
        )


class _Model:
    """One model at work."""

    def __init__(
        self, name: str, script: ModelScript, answers: Answers, seed: int, now_s: float
    ) -> None:
        self.answers = answers
        self._name = name
        self._script = script
        self._seed = seed
        price = script.price
        cached = price.input if price.cached_input is None else price.cached_input
        self.account = Account(Rate.from_usd(price.input, price.output, cached, price.call))
        self._begin(now_s)

    def reset(self, now_s: float) -> None:
        in_flight = self.account.in_flight
        self.account = Account(self.account.rate, in_flight=in_flight, max_in_flight=in_flight)
        self._begin(now_s)

    def _begin(self, now_s: float) -> None:
        self.limiter = Limiter(self._script.limits, now_s)
        seed = f"{self._seed}/latency/{self._name}"
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def generate(self, ask: Ask, said: Said) -> tuple[Said, Usage]:
        """The answer within `max_tokens`, and its usage."""
        script = self._script
        reasoning_tokens = script.reasoning_tokens
        if ask.max_tokens is not None:
            reasoning_tokens = min(reasoning_tokens, ask.max_tokens)
            said = said.cut(ask.max_tokens - reasoning_tokens)
        if not script.logprobs and said.logprob is not None:
            said = replace(said, logprob=None)
        input_tokens = said.input_tokens
        if input_tokens is None:
            input_tokens = max(1, token_count(ask.input_bytes) + ask.extra_tokens)
        usage = Usage(
            input_tokens,
            reasoning_tokens + said.output_tokens,
            min(script.cached_input_tokens, input_tokens),
            reasoning_tokens,
        )
        return said, usage

    def delay_s(self, fault: FaultRule | None) -> float:
        # Drawn for every call, so that a fault does not shift the latencies of the calls after it.
        delay_ms = self._latency_ms()
        if fault is not None and fault.latency_ms is not None:
            delay_ms = fault.latency_ms
        elif fault is not None and fault.kind in REFUSALS:
            delay_ms = 0.0
        return delay_ms / 1000

    def _latency_ms(self) -> float:
        latency = self._script.latency_ms
        if isinstance(latency, Spread):
            return self._random.lognormvariate(math.log(latency.p50), sigma_of(latency))
        return latency


def _answers_of(script: Script) -> dict[str, Answers]:
    """How each model answers; a recording that several models name is read once."""
    wanted: dict[str, set[str]] = {}
    for name, model in script.models.items():
        if model.recording is not None:
            wanted.setdefault(str(model.recording), set()).add(model.tier or name)
    recordings = {
        path: load_recording(script.folder / path, tiers) for path, tiers in wanted.items()
    }
    answers: dict[str, Answers] = {}
    for name, model in script.models.items():
        if model.recording is not None:
            answers[name] = recordings[str(model.recording)][model.tier or name]
        elif model.answers is not None:
            answers[name] = RuledAnswers(model.answers)
        elif model.simulate is not None:
            answers[name] = SimulatedAnswers(model.simulate, name, script.seed)
        else:
            answers[name] = EchoedAnswers()
    return answers
