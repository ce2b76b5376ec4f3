"""A provider that does what a script says: an independent witness of what was billed.

It is a real HTTP server with OpenAI's chat and completions formats and Anthropic's messages, for
tests, rehearsals and first trials. It costs nothing, breaks on request, and keeps a bill of its own:
nothing here imports what plans, prices or records the money that cascade-batch spends, so that the
two can be held against each other.

    cascade-batch provider --script script.yaml

prints `{"url": …, "bill": …, "pid": …}` when it is ready. In a test, `ScriptedProvider` runs it in the
event loop, and `spawn_provider` as a child process.

A script
========

    seed: 1                       # the same seed and order of calls: the same answers and faults
    log: calls.jsonl              # optional: a line per call; paths are relative to the script
    models:
      small:
        price: {input: 0.15, output: 0.60}    # USD per million tokens (also cached_input; call: per call)
        latency_ms: {p50: 400, p95: 1500}     # lognormal; or a number
        limits: {rpm: 600, tpm: 90000, concurrency: 32}     # enforced with 429 and Retry-After
        simulate:                 # chooses, deterministic per seed, model and prompt
          choices: [up, down, none]
          accuracy: 0.7
          gold: "#(up|down|none)" # the right choice, found in the prompt; without it a hash of the prompt
      large:
        price: {input: 2.5, output: 10, cached_input: 1.25}
        cached_input_tokens: 16   # of every prompt; cheaper if cached_input says so
        reasoning_tokens: 64      # before every answer
        logprobs: false           # not given even if asked for
        answers:                  # the first rule whose pattern is found in the last user message
          - {match: "(?i)gold", text: up, logprob: -0.05, top_logprobs: {down: -3.2}}
          - {text: none, output_tokens: 1}
      parrot:
        echo: true
    faults:
      - {kind: rate_limit, probability: 0.02, retry_after_s: 1}
      - {kind: server_error, status: 503, model: small, after_s: 5, until_s: 8}
      - {kind: hang, every: 500}
      - {kind: reset, first: 1, prompt_share: 0.01}      # 1 % of the prompts, first attempt
      - {kind: wrong_usage, factor: 3, nth: [7, 11]}
      - {kind: bad_request, match: poison}

A model answers in exactly one way: `answers`, `simulate`, `echo`, or `recording: file.jsonl.gz` with
`tier: NAME`. A recording has a line per question: `{"prompt": …, "outcomes": {TIER: {"text": …,
"input_tokens": …, "output_tokens": …, "logprob": …}}}`.

What is counted and billed
==========================

- A call is a POST to `/v1/chat/completions`, `/v1/completions` or `/v1/messages`. It is charged when it
  has been read, before anything is answered: a client that hangs up is billed all the same.
- Only a complete refusal is free. A fault that leaves the client in doubt is billed (`billed:`
  overrides). Free besides: what exceeds a limit, what names no model of the script, what can't be read,
  and prompts that the script has no answer to (`unmatched`).
- Tokens are those recorded or given by a rule; else one for every four bytes of text, rounded up, and
  1,000 for a part that is no text. Output ends at `max_tokens`, as a real model's does, with `length` as
  the finish reason. Reasoning tokens are output tokens.
- Price per call: integers of pico-dollars, rounded up to nano-dollars.
- Limits come before faults: what a limit turns away meets no fault, and no selector counts it. Tokens per
  minute count what the call would be billed. The bucket of a minute begins full and refills evenly.
- Log-probabilities: one entry per output token, in even parts that add up to the answer's. A one-token
  answer also has alternatives; a recording does not tell them, so what probability is left is shared
  among the other one-token answers by their frequency.

`GET /bill` gives `calls_total` = `calls_billed` + `calls_refused` (those not on the bill, whatever the
reason), `total_nanousd`, `duplicates` (billed calls whose model and whole prompt had been billed before),
`calls_unreadable` (part of the refused, under no model: unreadable or for an unknown model), `not_routed`
(requests for paths that are not served; no calls), and per model `calls, billed, answered` (answers that
were handed to the connection whole), `duplicates, input_tokens, cached_input_tokens, output_tokens,
nanousd, in_flight, max_in_flight` (calls waiting for their answer, with the client still there) and
`faults` by kind. `GET /log` gives the last 10,000 calls as JSON lines; the file named by `log:` has all.
`POST /bill/reset` begins again: bill, limits, counts and draws. Also `GET /health` and `GET /v1/models`.

One process serves everything, so that order, counts and limits are exact; it keeps several clients busy,
as a call costs it a fraction of what it costs them. Answers are not streamed, and there is one per call.
"""

from cascade_batch.providers.scripted.answers import right_choice
from cascade_batch.providers.scripted.bill import LogEntry, ModelStatement, Statement
from cascade_batch.providers.scripted.faults import FaultKind
from cascade_batch.providers.scripted.script import Script, load_script, script_from
from cascade_batch.providers.scripted.serving import (
    ScriptedProvider,
    SpawnedProvider,
    serve,
    spawn_provider,
)

__all__ = [
    "FaultKind",
    "LogEntry",
    "ModelStatement",
    "Script",
    "ScriptedProvider",
    "SpawnedProvider",
    "Statement",
    "load_script",
    "right_choice",
    "script_from",
    "serve",
    "spawn_provider",
]
