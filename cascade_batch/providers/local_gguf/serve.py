"""The process that serves one model: llama.cpp's own HTTP server, which speaks OpenAI's wire format.

Run by path, not as a module, so that it starts without the rest of the package. It reads what to serve as one
line of JSON from its standard input, writes its address as one line of JSON to its standard output, and
ends when nobody holds the lock of its users any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until the last user is gone."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    # llama.cpp may write to standard output, which is for the address alone: all else goes to the log.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = _start(order)
    with answer:
        answer.write(json.dumps({"url": server.listening_address}) + "\n")
    with Path(order["users"]).open("rb") as users:
        # Granted when the last user has let go of its share, or has died: the kernel keeps count.
        fcntl.flock(users, fcntl.LOCK_EX)
        # The lock is held to the very end. An orderly shutdown would wait for answers that nobody reads.
        os._exit(0)


def _start(order: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["gguf"]
    params.api_keys = [order["key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = order["slots"]
    params.n_ctx = order["slots"] * order["context_tokens"]
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = order["threads"]
        # Threads that wait must not spin: with other processes on the same cores, and be it a second
        # server, spinning made answers ten times slower.
        cpu.poll = 0
    # Prompts of a job begin with the same words. A model with a sliding window can only go on from what
    # it keeps of the last prompt if it keeps all of it, which made answers eight times faster.
    params.swa_full = True
    # Prompts that were answered don't come back: a cache of them would take up to 8 GB of memory.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.warmup = False
    params.ui = False
    params.verbosity = 1
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
