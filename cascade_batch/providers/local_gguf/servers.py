"""Model servers: one process per model on a machine, shared by every worker process that calls it.

Nobody owns a server. Whoever calls it holds a share of a lock, and the server waits for the whole of that
lock: the kernel grants it when the last share is gone, whether its holder let go, ended or was killed, and
the server ends. So there is no count that a killed worker could leave wrong, and no server outlives
those who use it.

In the folder of servers, for each: `.start` (lock: who starts or joins), `.users` (lock: who calls), `.json`
(address and key, readable by us alone), `.log` (what llama.cpp says).
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from cascade_batch.errors import CascadeError, UsageError

_ANSWERS_WITHIN_S = 10.0
"""How long a server that is said to run may take to say so."""
_LOG_LINES_SHOWN = 3
_SERVE = Path(__file__).with_name("serve.py")
_children: list[subprocess.Popen[bytes]] = []
"""Servers that this process started: kept, so that their ends are collected."""


class ServerStartError(CascadeError):
    """llama.cpp can't serve the model: the file is no GGUF that it knows, or the memory is not enough."""


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """What to serve, and how. Equal plans share a server.

    Attributes:
        gguf: The model's file, absolute.
        context_tokens: Room for one call, prompt and answer together.
        slots: Calls that are worked on at once.
        threads: Of the processor, for all slots together.
    """

    gguf: Path
    context_tokens: int
    slots: int
    threads: int

    @property
    def name(self) -> str:
        """Name of the server's files: says which model, and differs if anything differs."""
        told_apart = "\n".join(str(value) for value in asdict(self).values())
        digest = hashlib.sha256(told_apart.encode()).hexdigest()[:10]
        return f"gguf-{self.gguf.stem[:40]}-{digest}"


@dataclass(slots=True)
class SharedServer:
    """A running server, and our share of it. Ours until `release`, or until our process ends.

    Attributes:
        url: Address with `/v1`.
        key: What it asks for as a bearer token; without it, anybody on the machine could ask it.
    """

    url: str
    key: str = field(repr=False)
    _share: int

    def release(self) -> None:
        """Let go: the server ends if nobody else holds a share."""
        if self._share >= 0:
            os.close(self._share)
            self._share = -1


def require_llama_cpp(why: str) -> None:
    """See to it that llama.cpp is installed.

    Args:
        why: What needs it, as the beginning of a sentence.

    Raises:
        UsageError: It is not.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise UsageError(
            f"{why} needs llama.cpp, from the package xllamacpp, which is not installed.",
            hint="Install it: pip install 'cascade-batch[local]'",
        )


def join_server(plan: ServerPlan, folder: Path) -> SharedServer:
    """Take a share of the server for a plan; start it if there is none. Blocks for a second or so.

    Args:
        folder: For locks, notes and logs; created if missing, closed to others.

    Raises:
        ServerStartError: The model can't be served.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True, mode=0o700)
    users, note, log = (folder / f"{plan.name}.{kind}" for kind in ("users", "json", "log"))
    start = _open(folder / f"{plan.name}.start")
    try:
        fcntl.flock(start, fcntl.LOCK_EX)
        share = _open(users)
        try:
            # Waits where a server holds it all, for that one is ending.
            fcntl.flock(share, fcntl.LOCK_SH)
            url, key = _running(note) or _started(plan, users, note, log)
        except BaseException:
            os.close(share)
            raise
        return SharedServer(url, key, share)
    finally:
        os.close(start)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _running(note: Path) -> tuple[str, str] | None:
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
        url, key = str(told["url"]), str(told["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # Asks with the key: something else may have got the port of a server that was killed.
    connection = HTTPConnection(urlsplit(url).netloc, timeout=_ANSWERS_WITHIN_S)
    try:
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
        return (url, key) if connection.getresponse().status == 200 else None
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _started(plan: ServerPlan, users: Path, note: Path, log: Path) -> tuple[str, str]:
    key = secrets.token_urlsafe(24)
    order = {**asdict(plan), "gguf": str(plan.gguf), "key": key, "users": str(users)}
    with log.open("ab") as output:
        begin = output.tell()
        # A session of its own, so that Ctrl-C in a terminal leaves it to its users.
        process = subprocess.Popen(
            [sys.executable, "-P", str(_SERVE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            cwd=plan.gguf.parent,
        )
    _children[:] = [child for child in (*_children, process) if child.poll() is None]
    assert process.stdin is not None  # noqa: S101 - for the type
    assert process.stdout is not None  # noqa: S101 - for the type
    with process.stdin as stdin, process.stdout as stdout:
        stdin.write(json.dumps(order).encode() + b"\n")
        stdin.flush()
        line = stdout.readline()
    if not line:
        process.wait()
        raise _no_start(plan, log, begin)
    url = f"{json.loads(line)['url']}/v1"
    handle = _open(note)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.truncate()
        file.write(json.dumps({"url": url, "key": key}))
    return url, key


def _no_start(plan: ServerPlan, log: Path, begin: int) -> ServerStartError:
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    said = " / ".join(line.strip() for line in lines[-_LOG_LINES_SHOWN:] if line.strip())
    return ServerStartError(
        f"llama.cpp can't serve {plan.gguf}: {said or 'it said nothing'}.",
        hint=f"See {log}. Is the file a complete GGUF, and is there enough memory for it?",
    )
