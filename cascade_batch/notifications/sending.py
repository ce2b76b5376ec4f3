"""One message to one receiver: signed, sent once, and what became of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

import aiohttp

from cascade_batch import __version__
from cascade_batch.domain.notify import check_url, variable_of
from cascade_batch.errors import UsageError
from cascade_batch.notifications.addresses import (
    AllowedHosts,
    ForbiddenAddressError,
    PublicResolver,
)
from cascade_batch.notifications.message import TIMEOUT_S, Message, Outcome, Variables
from cascade_batch.notifications.signing import read_secrets, sign

LONGEST_RETRY_AFTER_S = 3600.0
_GONE = 410


def send_now(
    messages: Sequence[Message], variables: Variables, allowed: AllowedHosts
) -> list[Outcome]:
    """Send messages side by side, each once; never raises for what goes wrong with one."""
    return asyncio.run(_send_all(messages, variables, allowed))


async def _send_all(
    messages: Sequence[Message], variables: Variables, allowed: AllowedHosts
) -> list[Outcome]:
    connector = aiohttp.TCPConnector(resolver=PublicResolver(allowed), force_close=True)
    # No proxy from the environment: it would reach what we may not.
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        return await asyncio.gather(
            *(_send(session, message, variables, allowed) for message in messages)
        )


async def _send(
    session: aiohttp.ClientSession,
    message: Message,
    variables: Variables,
    allowed: AllowedHosts,
) -> Outcome:
    try:
        url = _address(message.url, variables)
        allowed.check(url)
        body = message.body.encode()
        headers = _headers(message, body, variables)
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            return _outcome(answer)
    except (UsageError, aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome(_why(error))


def _why(error: Exception) -> str:
    """Why a message was not delivered. Never the error's own text, where the address may stand in it."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        error = error.os_error
        if not isinstance(error, ForbiddenAddressError):
            return "its name is not known"
    if isinstance(error, UsageError | ForbiddenAddressError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:.0f} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return f"no connection ({os.strerror(error.os_error.errno)})"
    return f"it could not be sent ({type(error).__name__})"


def _address(url: str, variables: Variables) -> str:
    name = variable_of(url)
    if name is None:
        return url
    held = (variables(name) or "").strip()
    if not held:
        raise UsageError(
            f"the environment variable {name}, which holds the address, is not set where the sweeper runs"
        )
    try:
        check_url(held)
    except ValueError as error:
        raise UsageError(f"the address in the environment variable {name} {error}") from None
    return held


def _headers(message: Message, body: bytes, variables: Variables) -> dict[str, str]:
    timestamp = int(time.time())
    headers = {
        "content-type": "application/json",
        "user-agent": f"cascade-batch/{__version__}",
        "webhook-id": message.webhook_id,
        "webhook-timestamp": str(timestamp),
    }
    name = message.secret_env
    if name is None:
        return headers
    held = variables(name)
    if not held:
        raise UsageError(
            f"the environment variable {name}, which holds the secret, is not set where the sweeper runs"
        )
    keys = read_secrets(held, name)
    return headers | {"webhook-signature": sign(keys, message.webhook_id, timestamp, body)}


def _outcome(answer: aiohttp.ClientResponse) -> Outcome:
    if 200 <= answer.status < 300:
        return Outcome()
    told = f"the receiver answered {answer.status}"
    if 300 <= answer.status < 400:
        return Outcome(f"{told}, and redirects are not followed")
    wait = answer.headers.get("Retry-After", "")
    asked_s = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 8 else 0.0
    return Outcome(told, answer.status == _GONE, min(asked_s, LONGEST_RETRY_AFTER_S))
