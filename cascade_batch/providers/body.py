"""Request bodies, made quickly: what is the same for every row of a tier is serialised once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from cascade_batch.domain.job import Output
from cascade_batch.domain.row import Prompt
from cascade_batch.errors import UsageError


class BodyParts:
    """Joins the part that depends on the row with the part that depends on the tier and output.

    Args:
        variable: The row's keys, for a prompt.
        fixed: The other keys, for an output.
    """

    def __init__(
        self,
        variable: Callable[[Prompt], dict[str, Any]],
        fixed: Callable[[Output], dict[str, Any]],
    ) -> None:
        self._variable = variable
        self._fixed = fixed
        self._ready: tuple[Output | None, bytes] = (None, b"")

    def join(self, prompt: Prompt, output: Output) -> bytes:
        """The body.

        Raises:
            UsageError: The prompt or the tier's params hold something that JSON has no word for.
        """
        return _json(self._variable(prompt))[:-1] + self.end(output)

    def end(self, output: Output) -> bytes:
        """What every body ends with, whatever the prompt.

        Raises:
            UsageError: The tier's params hold something that JSON has no word for.
        """
        for_output, end = self._ready
        if for_output is not output:
            # A tier is used with one output at a time, nearly always.
            end = b"," + _json(self._fixed(output))[1:]
            self._ready = (output, end)
        return end


def _json(value: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise UsageError(f"The request can't be written as JSON: {error}.") from None


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(
            part if isinstance(part, str) else part.get("text") or ""
            for part in content
            if isinstance(part, str) or part.get("type", "text") in ("text", "output_text")
        )
    return ""


def without_cache_marks(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages without `cache_control`.

    A mark changes no answer but has the provider write to its cache at up to twice the price of
    input, which the worst case would then have to hold for every row. Who wants the cache sets
    `cache_control` in the tier's params, where the price is chosen by it.
    """
    return [
        message
        if isinstance(message.get("content"), str) and "cache_control" not in message
        else _unmarked(message)
        for message in messages
    ]


def _unmarked(message: dict[str, Any]) -> dict[str, Any]:
    message = {key: value for key, value in message.items() if key != "cache_control"}
    if isinstance(message.get("content"), list):
        message["content"] = [
            {key: value for key, value in part.items() if key != "cache_control"}
            if isinstance(part, dict)
            else part
            for part in message["content"]
        ]
    return message
