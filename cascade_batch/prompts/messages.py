"""Chat messages that a record brings along."""

from __future__ import annotations

from typing import Any

from cascade_batch.prompts.errors import PromptError

ROLES = ("system", "developer", "user", "assistant", "tool")

_TEXT_KEYS = frozenset(
    ("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "cache_control")
)
"""Keys of a message whose tokens its bytes bound. Others may point at what lies elsewhere (audio)."""


def check_messages(messages: Any) -> bool:
    """Check that messages can be sent as they are.

    Returns:
        Whether all of their content is text, so that its bytes bound its tokens.

    Raises:
        PromptError: They are no list of messages, or all of them are empty.
    """
    if not isinstance(messages, list):
        hint = 'Messages look like [{"role": "user", "content": "…"}].'
        if isinstance(messages, str):
            hint = f"{hint} A text can't be used as messages (CSV has nothing but texts)."
        raise PromptError("`messages` is not a list", hint=hint)
    if not messages:
        raise PromptError(
            "`messages` is an empty list", hint="A prompt needs at least one message."
        )
    text_only = True
    has_content = False
    for number, message in enumerate(messages, 1):
        is_text, is_filled = _check_message(message, f"message {number}")
        text_only = text_only and is_text
        has_content = has_content or is_filled
    if not has_content:
        raise PromptError("all messages are empty", hint="Put the question into one of them.")
    return text_only


def _check_message(message: Any, where: str) -> tuple[bool, bool]:
    if not isinstance(message, dict):
        raise PromptError(f"{where} is not an object with role and content")
    role = message.get("role")
    if role not in ROLES:
        said = "no role" if role is None else f"the role {role!r}"
        raise PromptError(f"{where} has {said}", hint=f"A role is one of {', '.join(ROLES)}.")
    knows_keys = message.keys() <= _TEXT_KEYS
    content = message.get("content")
    if isinstance(content, str):
        return knows_keys, bool(content.strip())
    if content is None and role == "assistant" and message.get("tool_calls"):
        return knows_keys, True
    if not isinstance(content, list):
        said = "no content" if content is None else "content of another kind"
        raise PromptError(f"{where} has {said}", hint="Content is a text or a list of parts.")
    text_only = knows_keys
    is_filled = False
    for number, part in enumerate(content, 1):
        text = _text_of_part(part, f"part {number} of {where}")
        text_only = text_only and text is not None
        is_filled = is_filled or text is None or bool(text.strip())
    return text_only, is_filled


def _text_of_part(part: Any, where: str) -> str | None:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise PromptError(
            f"{where} is not an object with a type",
            hint='Parts look like {"type": "text", "text": "…"}.',
        )
    if part["type"] != "text":
        return None
    text = part.get("text")
    if not isinstance(text, str):
        raise PromptError(f"{where} is of type text and has no `text`")
    return text
