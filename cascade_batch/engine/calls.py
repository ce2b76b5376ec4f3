"""The calls of a driver: sent as far as the gates let them through, booked when they end.

Whatever goes wrong in here, a row comes out in one of the ways that the ledger knows. Before anything was
sent, a fault is a refusal or gives the reservation back; after that, the call counts as lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field

from cascade_batch.domain.answer import Answered, Outcome, RefusalKind, Refused, Unknown
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.chunk_rows import RowTask
from cascade_batch.engine.open_chunk import OpenChunk
from cascade_batch.errors import CascadeError
from cascade_batch.monitoring.logs import take_on
from cascade_batch.monitoring.observer import EndedCall
from cascade_batch.providers import Providers, worst_case_nanousd
from cascade_batch.providers.limits import GateClosedError, Gates, TierGate

logger = logging.getLogger(__name__)

BREAKER_PATIENCE_S = 2.0
"""An outage that lasts longer than this sends a tier's chunks back to the table."""
GATE_FOR_S = 1.0
"""How long a tier's gate is kept at hand; what a tier declares is declared anew as often."""
RETRY_BASE_S = 0.25
SERVER_ATTEMPTS = 6
"""How often a row is sent to a server that answers it with 5xx while other rows fare better: the row, and
not the server, is what is wrong."""
SERVER_TRIES = 30
"""How often a row is sent to a server that is at fault altogether. An outage is waited for by the breaker,
which lets few calls through and not always the same ones; this bounds what the last rows of a job can
wait for, some quarter of an hour."""


@dataclass(slots=True, eq=False)
class _Sending:
    """A call between `ready` and its end."""

    chunk: OpenChunk
    task: RowTask
    gate: TierGate
    has_started: bool = False
    is_sent: bool = False
    sent_at: float = 0.0


@dataclass(slots=True)
class Calls:
    """See the module.

    Attributes:
        chunks: The driver's open chunks.
        ended: Where calls are noted as they end; None: nowhere.
        progress: Set whenever something ended.
        fatal: Job id -> why the job can't go on; the driver makes it so.
        outages: Job id -> what it waits for; the driver notes it on the job.
        ended_since_turn: How many calls of each gate ended since the driver last took the count.
    """

    providers: Providers
    gates: Gates
    chunks: dict[int, OpenChunk]
    ended: list[EndedCall] | None = None
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    fatal: dict[int, str] = field(default_factory=dict)
    outages: dict[int, str] = field(default_factory=dict)
    ended_since_turn: Counter[TierGate] = field(default_factory=Counter)
    _sendings: dict[asyncio.Task[None], _Sending] = field(default_factory=dict)
    _starting: Counter[TierGate] = field(default_factory=Counter)
    _answered: Counter[TierGate] = field(default_factory=Counter)
    _trouble: dict[TierGate, str] = field(default_factory=dict)
    _gates: dict[tuple[int, int], tuple[float, TierGate]] = field(default_factory=dict)

    @property
    def are_under_way(self) -> bool:
        """Whether any call is."""
        return bool(self._sendings)

    def capacity(self, gate: TierGate) -> int:
        """How many calls the gate would let through now, those that are on their way to it apart."""
        return max(gate.try_capacity() - self._starting[gate], 0)

    def pump(self) -> None:
        """Send what is reserved, as far as the gates let it through."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for chunk in self.chunks.values():
            gate = self._gate_of(chunk, now)
            open_for_s = gate.breaker_open_for_s
            if open_for_s > BREAKER_PATIENCE_S and not chunk.hand_back:
                chunk.stop(delay_s=open_for_s)
                self.outages[chunk.lease.job_id] = (
                    f"Tier {chunk.tier.name!r} does not answer and is tried again from time to time:"
                    f" {self._trouble.get(gate, 'no connection')}"
                )
            if not chunk.may_send(now) or chunk.lease.job_id in self.fatal:
                continue
            chunk.wake(now)
            free = self.capacity(gate) if chunk.ready else 0
            while chunk.ready and free > 0:
                sending = _Sending(chunk, chunk.take(), gate)
                call = loop.create_task(self._call(sending), context=chunk.story.context.copy())
                self._sendings[call] = sending
                self._starting[gate] += 1
                call.add_done_callback(self._over)
                free -= 1

    def _gate_of(self, chunk: OpenChunk, now: float) -> TierGate:
        """The gate of its tier. Asked for again now and then only: here it is wanted once per row."""
        key = (chunk.lease.job_id, chunk.lease.tier_no)
        known = self._gates.get(key)
        if known is None or known[0] < now:
            known = (now + GATE_FOR_S, self.gates.gate_for(chunk.tier))
            self._gates[key] = known
        return known[1]

    def withdraw(self) -> None:
        """Take back the calls that wait before a gate for a chunk that sends nothing more."""
        if not any(chunk.hand_back or chunk.give_up for chunk in self.chunks.values()):
            return
        for call, sending in self._sendings.items():
            if not sending.is_sent and (sending.chunk.hand_back or sending.chunk.give_up):
                call.cancel()

    async def end(self) -> None:
        """Cancel what is left: calls whose chunks are not ours any more. They were written off with
        their lease, or will be."""
        calls = list(self._sendings)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _over(self, call: asyncio.Task[None]) -> None:
        sending = self._sendings.pop(call)
        if not sending.has_started:
            self._starting[sending.gate] -= 1
        self._settle(sending)

    def _settle(self, sending: _Sending) -> None:
        if not sending.is_sent:
            sending.chunk.unsent(sending.task)
        self.progress.set()

    async def _call(self, sending: _Sending) -> None:
        """Make a call, and after it those that its slot is for next: to make a task for each of them takes
        the loop a good part of what the call itself takes."""
        sending.has_started = True
        self._starting[sending.gate] -= 1
        task = asyncio.current_task()
        while await self._make(sending):
            following = self._following(sending)
            if following is None or task is None:
                return
            self._settle(sending)
            if following.chunk is not sending.chunk:
                take_on(following.chunk.story.context)
            self._sendings[task] = sending = following

    async def _make(self, sending: _Sending) -> bool:
        """Make one call; whether its row is done with, so that its slot is free."""
        try:
            outcome = await self._outcome(sending)
            return outcome is not None and self._book(sending, outcome)
        except Exception as error:
            # A fault of ours, and nothing of the kind is known: one row suffers, and says why.
            chunk, task = sending.chunk, sending.task
            logger.exception("row %s of chunk %s", task.row_no, chunk.lease.chunk_id)
            if task.row_no in chunk.in_flight and not chunk.is_lost:
                unsent = Refused(RefusalKind.ROW, fault(error))
                chunk.finish(task, Unknown("crashed", fault(error)) if sending.is_sent else unsent)
            return False

    def _following(self, ended: _Sending) -> _Sending | None:
        """The call that goes out next, if it is one of the same job and there is just one slot for it, that
        which came free at the gate; else `pump` sends what can be sent. (What a user's function keeps in its
        context is no business of other jobs.)"""
        free = ended.gate
        for chunk in self.chunks.values():
            if chunk.ready:
                break
        else:
            return None
        now = asyncio.get_running_loop().time()
        if (
            not chunk.may_send(now)
            or chunk.lease.job_id != ended.chunk.lease.job_id
            or chunk.lease.job_id in self.fatal
            or self._gate_of(chunk, now) is not free
            or free.breaker_open_for_s > 0.0
            or self.capacity(free) != 1
        ):
            self.pump()
            return None
        return _Sending(chunk, chunk.take(), free, has_started=True)

    async def _outcome(self, sending: _Sending) -> Outcome | None:
        """What came of the call; None: it did not go out."""
        chunk, gate = sending.chunk, sending.gate
        body = self._body(chunk, sending.task)
        if isinstance(body, Refused):
            return body
        try:
            permit = await gate.acquire(len(body) // 4 + chunk.tier.max_output_tokens)
        except GateClosedError:
            chunk.stop()
            return None
        sending.sent_at = asyncio.get_running_loop().time()
        if not chunk.may_send(sending.sent_at):
            gate.give_back(permit)
            return None
        sending.is_sent = True
        try:
            outcome = await self.providers.call(chunk.tier, body)
        except asyncio.CancelledError:
            gate.give_back(permit)
            raise
        except Exception as error:
            logger.exception("the provider of tier %s failed", chunk.tier.name)
            outcome = Unknown("crashed", fault(error))
        gate.release(permit, outcome)
        return outcome

    def _body(self, chunk: OpenChunk, task: RowTask) -> bytes | Refused:
        """The request, if it can be made and can't cost more than what was reserved for it."""
        try:
            prompt, output = chunk.purchase.question(task)
            body = self.providers.request_body(chunk.tier, prompt, output)
            worst = worst_case_nanousd(chunk.tier, len(body), text_only=prompt.text_only)
        except Exception as error:
            # It could be made at submission; a template may depend on the time, or on chance.
            return Refused(RefusalKind.ROW, f"the request can't be made: {fault(error)}")
        if worst > task.want.worst_nanousd:
            # Never send what was not reserved.
            return Refused(RefusalKind.ROW, "the prompt is longer now than when it was bounded")
        return body

    def _book(self, sending: _Sending, outcome: Outcome) -> bool:
        """Book what came of a call; whether its row is done with."""
        chunk, task, gate = sending.chunk, sending.task, sending.gate
        self.ended_since_turn[gate] += 1
        if self.ended is not None and sending.is_sent:
            self.ended.append((chunk.story, outcome, sending.sent_at, time.monotonic()))
        if chunk.is_lost:
            return False
        if isinstance(outcome, Answered):
            self._answered[gate] += 1
        else:
            self._trouble[gate] = outcome.message
        if isinstance(outcome, Refused):
            if outcome.kind is RefusalKind.TIER:
                self.fatal.setdefault(chunk.lease.job_id, _refusal(chunk.tier, outcome))
            if outcome.kind in (RefusalKind.TIER, RefusalKind.RATE_LIMIT):
                chunk.unsent(task)
                return False
            if outcome.kind in (RefusalKind.SERVER, RefusalKind.CONNECT):
                delay_s = self._try_again_after_s(chunk, task, gate)
                if delay_s is not None:
                    loop = asyncio.get_running_loop()
                    chunk.rest(task, loop.time() + delay_s)
                    loop.call_later(delay_s, self.progress.set)
                    return False
        chunk.finish(task, outcome)
        if task.tries:
            chunk.context.tries.pop((task.row_no, chunk.lease.buys), None)
        return True

    def _try_again_after_s(self, chunk: OpenChunk, task: RowTask, gate: TierGate) -> float | None:
        """How long a row that met a server at fault should wait; None: it was sent often enough."""
        if task.others_answered is None:
            task.others_answered = self._answered[gate]
        task.tries += 1
        task.attempts += self._answered[gate] > task.others_answered
        chunk.context.tries[task.row_no, chunk.lease.buys] = task.tries
        if task.attempts >= SERVER_ATTEMPTS or task.tries >= SERVER_TRIES:
            return None
        return float(RETRY_BASE_S * 2 ** min(task.tries - 1, 6))


def fault(error: BaseException) -> str:
    """An error in words: what it says itself where it is one of ours, else its type as well."""
    if isinstance(error, CascadeError):
        return error.message
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _refusal(tier: Tier, refused: Refused) -> str:
    """Why a job was stopped: names the tier, and where its key comes from."""
    message = refused.message
    if repr(tier.name) not in message:
        message = f"Tier {tier.name!r} refuses every call: {message}"
    if tier.api_key_env and tier.api_key_env not in message and refused.status in (401, 402, 403):
        message += f" (Its key is read from {tier.api_key_env} where the workers run.)"
    return message
