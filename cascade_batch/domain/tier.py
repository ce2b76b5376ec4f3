"""A tier: a named rung of the ladder. Read from a tiers file, completed with a price, frozen into the job."""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cascade_batch.domain.money import Price

Api = Literal["openai", "anthropic", "local", "python"]

DEFAULT_BASE_URL: dict[str, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
}
MAX_PRICE_USD = 10**12
"""Highest price that is read. One such as 1e999990 would take minutes to become a whole number; whether the
worst case of a row fits any budget is looked at when its job is submitted."""
MAX_CONTEXT_TOKENS = 100_000_000

Usd = Annotated[Decimal, Field(ge=0, le=MAX_PRICE_USD)]
Count = Annotated[int, Field(gt=0, le=10**12)]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_KEY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

FORBIDDEN_PARAMS = {
    "max_tokens": "set max_output_tokens",
    "max_completion_tokens": "set max_output_tokens",
    "max_output_tokens": "set it on the tier, beside params",
    "n": "one answer per call is what the worst case covers",
    "best_of": "one answer per call is what the worst case covers",
    "stream": "answers are read whole",
    "messages": "the prompt makes them",
    "prompt": "set the tier's own prompt, beside params",
    "model": "set it on the tier, beside params",
    "logprobs": "set it on the tier, beside params",
    "tools": "a call that can grow has no worst case",
    "web_search_options": "a call that can grow has no worst case",
    "search_parameters": "a call that can grow has no worst case",
    "plugins": "a call that can grow has no worst case",
    "mcp_servers": "a call that can grow has no worst case",
    "prediction": "what is rejected of a prediction is billed beyond max_output_tokens",
    "models": "another model has another price; make it a tier of its own",
    "system": "the prompt makes it",
}
"""Parameters that would break the worst case of a call or that the tier sets itself."""


class TierPrice(BaseModel):
    """The price as a user writes it: USD per million tokens, per call, per second."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Usd = Decimal(0)
    """USD per million tokens of input."""
    output: Usd = Decimal(0)
    """USD per million tokens of output; reasoning is output."""
    cached_input: Usd | None = None
    """USD per million tokens of input that the provider had in its cache. None: as dear as other input."""
    call: Usd = Decimal(0)
    """USD per call."""
    second: Usd = Decimal(0)
    """USD per second that a call takes, for machines that are paid by time."""


class Limits(BaseModel):
    """Limits of a tier over all workers and hosts. None: not limited by the user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rpm: Count | None = None
    """Calls per minute."""
    tpm: Count | None = None
    """Tokens per minute, input and output together."""
    concurrency: Count | None = None
    """Calls in flight at a time. None: found by trying."""


class Tier(BaseModel):
    """One rung of the ladder. Tiers are ordered cheap to dear; `tier_no` is the place, from 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: Annotated[
        str, Field(json_schema_extra={"pattern": "^" + _NAME.pattern.replace(r"\Z", "$")})
    ]
    """What the tier is called; its queue is `tier.NAME`."""
    model: str = ""
    """The model, as the server calls it."""
    api: Api = "openai"
    """What is spoken: `openai` (any compatible server), `anthropic`, `local` (a GGUF file on this machine) or
    `python` (a function)."""
    base_url: str | None = None
    """The server's address, up to and with /v1. None: the provider's own."""
    endpoint: Literal["chat", "completions"] = "chat"
    """`completions`: a base model without a chat template; the prompt's text is sent as it is."""
    api_key_env: str | None = None
    """The NAME of the variable that holds the key, never the key. None: for a server that wants none."""
    price: TierPrice | None = None
    """What the tier costs. None: what the price table knows of the model; a model without a price is
    refused."""
    frozen_price: Price | None = None
    """Set at submission from `price` or the price table; what the ledger works with."""
    max_output_tokens: Annotated[int, Field(gt=0, le=1_000_000)] = 1024
    """Where an answer is cut off. The worst case of a call counts it in full: keep it as small as the
    task allows."""
    max_input_tokens: Annotated[int, Field(gt=0, le=MAX_CONTEXT_TOKENS)] | None = None
    """Bound on input that bytes can't bound (images); None: such rows are refused."""
    overhead_tokens: Annotated[int, Field(ge=0, le=MAX_CONTEXT_TOKENS)] = 64
    """Margin for chat template and hidden system text, on top of the bytes of the body."""
    max_tokens_param: Literal["max_tokens", "max_completion_tokens"] | None = None
    """`api: openai`: the parameter that bounds the answer; None: chosen by the server's address.
    Needed for a gateway in front of models that refuse `max_tokens`."""
    response_format: bool = True
    """Ask the server to hold the answer to the output's JSON schema. False for servers that refuse
    to: the check holds the answer against the schema either way."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Passed through to the provider, such as `temperature: 0`."""
    prompt: str | None = None
    """A template of this tier's own, or `@FILE`; it wins over the job's."""
    logprobs: bool = False
    """Ask for log-probabilities: the best evidence there is of which answers are doubtful."""
    self_consistency: bool = False
    """The planner may ask a second time, where whether the answers agree is worth the price. Only of use
    where the model samples: at a temperature of 0 it repeats itself."""
    limits: Limits = Limits()
    """What the tier may be asked for, over all workers and hosts."""
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """When a call is given up, in seconds; what it may have cost is written off as at risk."""
    gguf: str | None = None
    """`api: local`: path of a GGUF file; None: `model` names an entry of the built-in catalogue."""
    context_tokens: Annotated[int, Field(ge=64, le=MAX_CONTEXT_TOKENS)] | None = None
    """`api: local`: room for one call, prompt and answer together; None: 4096."""
    function: str | None = None
    """`api: python`: `module.function` to call with the row; None: `model` names it."""
    python_path: str | None = None
    """`api: python`: folder that `function` is imported from (the job file's); set at submission."""

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, name: str) -> str:
        if not _NAME.match(name):
            raise ValueError(
                f"tier name {name!r} must be 1 to 63 letters, digits, '.', '_' or '-'"
                " and start with a letter or digit"
            )
        return name

    @field_validator("base_url")
    @classmethod
    def _url_is_http(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not re.match(r"https?://[^/]+", url):
            raise ValueError(f"base_url {url!r} must start with http:// or https://")
        if "@" in url.split("//", 1)[1].split("/", 1)[0]:
            raise ValueError("base_url must not hold a password; name a variable in api_key_env")
        if not _is_address(url):
            raise ValueError(f"base_url {url!r} is no address of a server")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _key_is_a_name(cls, name: str | None) -> str | None:
        # The value itself is left out of the message: it may be the key, written there by mistake.
        if name is not None and not _KEY_NAME.match(name):
            raise ValueError(
                "api_key_env must be the NAME of an environment variable, such as OPENAI_API_KEY,"
                " never the key itself"
            )
        return name

    @field_validator("params")
    @classmethod
    def _params_keep_the_worst_case(cls, params: dict[str, Any]) -> dict[str, Any]:
        for key, why in FORBIDDEN_PARAMS.items():
            if key in params:
                raise ValueError(f"params may not hold {key!r}: {why}")
        return params

    @model_validator(mode="after")
    def _model_is_named(self) -> Tier:
        if not self.model and not (self.gguf or self.function):
            raise ValueError(f"tier {self.name!r} names no model")
        return self

    @property
    def url(self) -> str:
        """Base URL of the tier's server; empty for tiers without one."""
        return self.base_url or DEFAULT_BASE_URL.get(self.api, "")

    @property
    def queue(self) -> str:
        """Celery queue that carries the tier's chunks."""
        return f"tier.{self.name}"

    @property
    def limit_key(self) -> str:
        """Identity of what the limits are about: tiers of two jobs that name one server, model and
        key share their limits and their breaker, whatever the tiers are called."""
        identity = "\n".join([self.api, self.url, self.model, self.api_key_env or ""])
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    @property
    def bound_price(self) -> Price:
        """The frozen price.

        Raises:
            ValueError: The tier was not priced yet.
        """
        if self.frozen_price is None:
            raise ValueError(f"tier {self.name!r} has no frozen price")
        return self.frozen_price


def _is_address(url: str) -> bool:
    # urlsplit drops line ends and tabs, so they are looked for before.
    if not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, a port above 65535
        return False
