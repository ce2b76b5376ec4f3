"""Rows to prompts."""

from __future__ import annotations

from typing import Any

from cascade_batch.domain.row import Prompt, Record
from cascade_batch.prompts.errors import PromptError, columns_shown
from cascade_batch.prompts.messages import check_messages
from cascade_batch.prompts.templates import TextTemplate
from cascade_batch.words import argument


def compile_prompt(
    *, system: str | None, template: str | None, where: str = "the prompt"
) -> PromptMaker:
    """Compile a job's or a tier's prompt.

    Args:
        system: Template of a system message, over the same columns; None: no such message.
        template: Template of the user message; None: every record brings its own messages or prompt.
        where: What `template` is, for messages: `the prompt of tier small`.

    Raises:
        UsageError: A template is wrong; the message names the line.
    """
    return PromptMaker(
        system=None if system is None else TextTemplate(system, "the system prompt"),
        template=None if template is None else TextTemplate(template, where),
        where=where,
    )


class PromptMaker:
    """Makes prompts of records; made by `compile_prompt`."""

    def __init__(
        self, *, system: TextTemplate | None, template: TextTemplate | None, where: str
    ) -> None:
        self._system = system
        self._template = template
        self._where = where

    @property
    def is_same_for_all(self) -> bool:
        """Whether every record is asked the same, as the templates name no column."""
        templates = [one for one in (self._template, self._system) if one is not None]
        return self._template is not None and not any(one.reads_columns for one in templates)

    def form_of(self, fields: dict[str, Any]) -> str:
        """How a record becomes a prompt: `template`, `body`, `messages` or `prompt`.

        Raises:
            PromptError: There is no template, and the record brings neither messages nor a prompt.
        """
        if self._template is not None:
            return "template"
        body = fields.get("body")
        if isinstance(body, dict) and body.get("messages") is not None:
            return "body"
        if fields.get("messages") is not None:
            return "messages"
        if fields.get("prompt") is not None:
            return "prompt"
        example = next((name for name in fields if name.isidentifier()), "column")
        template = f"'… {{{{ {example} }}}}'"
        raise PromptError(
            "the record has neither `messages` nor `prompt`, so that a template is needed;"
            f" it has {columns_shown(fields)}",
            hint=f"Say what to ask: {argument('prompt', template)}, or `prompt:` in the job file.",
        )

    def prompt_for(self, fields: dict[str, Any]) -> Prompt:
        """What a tier is asked about a record.

        The system message comes first, unless the record's own messages bring one (or a
        developer's), or its template gives nothing. The record's messages are passed on as they are.

        Raises:
            PromptError: The record can't make a prompt, or the prompt is empty.
        """
        if self._template is not None:
            text = self._template.text_for(fields)
            if not text.strip():
                raise PromptError(f"{self._where} is empty for this record")
            messages = [{"role": "user", "content": text}]
            return Prompt(self._with_system(messages, fields) if self._system else messages)
        form = self.form_of(fields)
        if form == "prompt":
            text = fields["prompt"]
            if not isinstance(text, str):
                raise PromptError("`prompt` is not a text", hint="Messages belong in `messages`.")
            if not text.strip():
                raise PromptError("`prompt` is empty")
            return Prompt(self._with_system([{"role": "user", "content": text}], fields))
        messages = fields["body"]["messages"] if form == "body" else fields["messages"]
        text_only = check_messages(messages)
        if not any(message["role"] in ("system", "developer") for message in messages):
            messages = self._with_system(messages, fields)
        return Prompt(messages, text_only)

    def _with_system(
        self, messages: list[dict[str, Any]], fields: dict[str, Any]
    ) -> list[dict[str, Any]]:
        if self._system is None:
            return messages
        text = self._system.text_for(fields)
        return [{"role": "system", "content": text}, *messages] if text.strip() else messages


class FormGuard:
    """Sees to it that all records of a data set become prompts in the same way.

    A record of another form is a slip far more often than a wish, and would be asked in words that
    nobody checked. The first record that is checked sets the form. `check` fits `read_records(check=…)`.
    """

    def __init__(self, maker: PromptMaker) -> None:
        self._maker = maker
        self._form: str | None = None
        self._line_no = 0

    def check(self, record: Record) -> None:
        """Compare a record's form with the first one's.

        Raises:
            PromptError: It is another form, or none; the message names the first record's line.
        """
        form = self._maker.form_of(record.fields)
        if self._form is None:
            self._form, self._line_no = form, record.line_no
        elif form != self._form:
            raise PromptError(
                f"the record is asked by its {_named(form)}, and the one in line {self._line_no}"
                f" by its {_named(self._form)}",
                hint=f"Write all records in one form, or say with {argument('prompt')} what to ask.",
            )


def _named(form: str) -> str:
    return {"body": "`body.messages`"}.get(form, f"`{form}`")
