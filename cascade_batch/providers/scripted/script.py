"""The script file: its models, checked on reading, with errors that name the key that is wrong."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cascade_batch.errors import UsageError
from cascade_batch.providers.scripted.faults import Count, FaultRule, Share, checked_pattern

Usd = Annotated[Decimal, Field(ge=0, le=10**12)]
LogProb = Annotated[float, Field(le=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ScriptPrice(_Strict):
    """USD per million tokens, and USD per call."""

    input: Usd = Decimal(0)
    """USD per million tokens of input."""
    output: Usd = Decimal(0)
    """USD per million tokens of output."""
    cached_input: Usd | None = None
    """None: as dear as other input."""
    call: Usd = Decimal(0)
    """USD per call."""


class Spread(_Strict):
    """A lognormal distribution by its median and its 95th percentile."""

    p50: Annotated[float, Field(gt=0)]
    p95: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _in_order(self) -> Spread:
        if self.p95 < self.p50:
            raise ValueError("p95 must not be below p50")
        return self


class ScriptLimits(_Strict):
    """Limits that the server itself enforces with a 429. None: no limit."""

    rpm: Count | None = None
    """Calls per minute."""
    tpm: Count | None = None
    """Tokens per minute, input and output."""
    concurrency: Count | None = None
    """Calls at once."""


class AnswerRule(_Strict):
    """An answer to the prompts that `match` is found in; without `match`, to all."""

    match: str | None = None
    """A regular expression that is looked for in the last user message."""
    text: str
    """What it says."""
    logprob: LogProb | None = None
    """Log-probability of the whole answer; None: not given even if asked for."""
    top_logprobs: dict[str, LogProb] = Field(default_factory=dict)
    """Other tokens in the first one's place."""
    input_tokens: Count | None = None
    """What is counted as input; None: by length."""
    output_tokens: Annotated[int, Field(ge=0)] | None = None
    """What is counted as output; None: by length."""

    @field_validator("match")
    @classmethod
    def _match_compiles(cls, pattern: str | None) -> str | None:
        return checked_pattern(pattern)


class Simulation(_Strict):
    """A model that chooses, right with a given probability, and surer when it is right.

    All is a function of seed, model and prompt: asked again, it says the same again.
    """

    choices: tuple[str, ...]
    """What it chooses from."""
    accuracy: Share
    """How often it is right, from 0 to 1."""
    gold: str | None = None
    """Regular expression whose first group is the right choice, found in the prompt. None: the
    right choice is a hash of the prompt (`right_choice`), the same for all models and seeds."""
    correlation: Share = 0.5
    """How often a prompt is as hard for this model as for the others, rather than independently."""
    separation: Annotated[float, Field(ge=0)] = 1.5
    """How well the log-probability tells right from wrong: 0 not at all, 1.5 an AUC of about .86."""
    text: str = "{choice}"
    """The answer's text, with `{choice}` where the choice goes."""
    output_tokens: Count | Spread | None = None
    """None: counted from the text."""

    @field_validator("choices")
    @classmethod
    def _several_choices(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise ValueError("choices needs at least two different ones")
        return choices

    @field_validator("gold")
    @classmethod
    def _gold_has_a_group(cls, pattern: str | None) -> str | None:
        import re

        if checked_pattern(pattern) is not None and re.compile(str(pattern)).groups < 1:
            raise ValueError(
                f"{pattern!r} needs a group in parentheses that holds the right choice"
            )
        return pattern

    @field_validator("text")
    @classmethod
    def _text_has_the_choice(cls, text: str) -> str:
        if "{choice}" not in text:
            raise ValueError("text must hold {choice}")
        return text


class ModelScript(_Strict):
    """One model: price, speed, limits, and exactly one way of answering."""

    price: ScriptPrice = ScriptPrice()
    """What it bills; nothing, if not given."""
    latency_ms: Annotated[float, Field(ge=0)] | Spread = 0.0
    """How long an answer takes: a number, or `{p50: …, p95: …}`."""
    limits: ScriptLimits = ScriptLimits()
    """What it turns away with a 429."""
    logprobs: bool = True
    """Whether log-probabilities are given when asked for."""
    cached_input_tokens: Annotated[int, Field(ge=0)] = 0
    """How many of every prompt's tokens count as cached, at most all."""
    reasoning_tokens: Annotated[int, Field(ge=0)] = 0
    """Output tokens spent on every call before the answer begins."""
    recording: Path | None = None
    """It answers as it was recorded: a file as `replay` reads it."""
    tier: str | None = None
    """Which outcome of the recording this model gives; None: the one named like the model."""
    answers: tuple[AnswerRule, ...] | None = None
    """It answers by the first rule that fits."""
    simulate: Simulation | None = None
    """It chooses at random, right with a given probability."""
    echo: bool = False
    """It answers with the last user message."""

    @model_validator(mode="after")
    def _one_way_of_answering(self) -> ModelScript:
        ways = [self.recording is not None, self.answers is not None, self.simulate is not None]
        if sum(ways) + self.echo != 1:
            raise ValueError("give exactly one of recording, answers, simulate and echo: true")
        if self.tier is not None and self.recording is None:
            raise ValueError("tier names an outcome of a recording, and there is no recording")
        return self


class Script(_Strict):
    """A whole script. Relative paths in it are relative to `folder`, that of its file."""

    models: dict[str, ModelScript]
    """The models, by name."""
    faults: tuple[FaultRule, ...] = ()
    """What goes wrong: a list, of which the first that fits a call counts."""
    seed: int = 0
    """The same seed and order of calls: the same answers and faults."""
    log: Path | None = None
    """File to which a line is appended per call."""
    folder: Path = Path()
    """Set by `load_script`."""

    @model_validator(mode="after")
    def _names_fit(self) -> Script:
        if not self.models:
            raise ValueError("models names no model")
        for number, fault in enumerate(self.faults):
            for name in fault.model or ():
                if name not in self.models:
                    raise ValueError(
                        f"faults.{number}.model: no model is called {name!r};"
                        f" there are {', '.join(self.models)}"
                    )
        return self


def load_script(path: str | Path) -> Script:
    """Read a script file (YAML, or JSON, which is YAML too).

    Raises:
        UsageError: The file can't be read, is no YAML, or asks for something that does not exist.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"The script {path} can't be read: {error.strerror}.", hint="Check the path."
        ) from None
    except RecursionError:
        raise UsageError(f"{path}: the script is nested too deep.") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # The last two are what PyYAML makes of tags that don't fit their values.
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        what = getattr(error, "problem", None) or error
        raise UsageError(f"{where}: not YAML: {what}.", hint="Correct this line.") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: a script is a mapping with the key models.", hint=_HINT)
    return script_from(content, folder=path.parent, source=str(path))


def script_from(content: dict[str, Any], *, folder: Path | None = None, source: str = "") -> Script:
    """Check a script's content.

    Args:
        content: The mapping that a script file holds.
        folder: What relative paths are relative to; None: the working folder.
        source: The file's name, for errors.

    Raises:
        UsageError: Something in it does not fit; every problem is named with its key.
    """
    if "folder" in content:
        raise UsageError(f"{source or 'script'}: folder is not a key of a script.", hint=_HINT)
    try:
        return Script.model_validate({**content, "folder": folder or Path()})
    except ValidationError as error:
        problems = "\n".join(f"  {_place(e['loc'])}: {_said(e['msg'])}" for e in error.errors())
        raise UsageError(f"{source or 'script'} does not fit:\n{problems}", hint=_HINT) from None


_HINT = "All keys, with an example: python -c 'help(\"cascade_batch.providers.scripted\")'."


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc) or "script"


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")
