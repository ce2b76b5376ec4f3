"""Functions that the tests of `api: python` call."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

release = threading.Event()


def by_keyword(row: dict[str, Any]) -> str:
    return "up" if "rises" in row["prompt"] else "down"


def whole(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": f"{row['system']}|{row['prompt']}|{row['params']}|{len(row['messages'])}",
        "logprobs": [-0.1, -1],
        "top_logprobs": {"up": -0.1},
        "input_tokens": 3,
        "output_tokens": 2,
        "finish_reason": "length",
    }


async def later(row: dict[str, Any]) -> str:
    await asyncio.sleep(0)
    return "later"


async def never(row: dict[str, Any]) -> str:
    await asyncio.Event().wait()
    return "never"


def stuck(row: dict[str, Any]) -> str:
    release.wait(60)
    return "late"


def inline(row: dict[str, Any]) -> str:
    return threading.current_thread().name


inline.runs_inline = True  # type: ignore[attr-defined]


def thread_name(row: dict[str, Any]) -> str:
    return threading.current_thread().name


class Asker:
    async def __call__(self, row: dict[str, Any]) -> str:
        return "asked"


asker = Asker()


def unknown_row(row: dict[str, Any]) -> str:
    raise KeyError("no such word")


def out_of_time(row: dict[str, Any]) -> str:
    raise TimeoutError("its own")


def iterator(row: dict[str, Any]) -> str:
    return next(iter(()))


def leave(row: dict[str, Any]) -> str:
    sys.exit("bye")


def nothing(row: dict[str, Any]) -> None:
    return None


def negative(row: dict[str, Any]) -> dict[str, Any]:
    return {"text": "x", "output_tokens": -1}


NOT_CALLABLE = 3
