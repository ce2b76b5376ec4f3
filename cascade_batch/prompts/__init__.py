"""From a row to what a tier is asked.

With a template (Jinja2, sandboxed) the row's columns are its variables, and its text becomes one user
message. Without one the record has to bring its question, in the first of these forms that it fits:
`{"body": {"messages": …}}`, of which nothing else in `body` is used; `{"messages": …}`;
`{"prompt": "…"}`. All records of a data set take the same form (`FormGuard`).

What a template can rely on, beyond Jinja2 itself:

- A column that the record does not have is an error, unless the template gives it a `default`. Names
  that are no Jinja2 names are reached through `row`: `{{ row["Review Text"] }}`.
- Values look like JSON where they are no text: `true`, `[1, 2]`, `{"a": 1}`; null is nothing.
- `tojson` writes plain JSON, without HTML escapes. There are no other files to include, nothing
  random, and no attribute that begins with an underscore: the same row always gives the same prompt.
- Lines that hold only a tag leave no empty line behind, and one line end at the very end is dropped.
- Steps (loop rounds, calls), range, and the length of what comes out and of what is made on the way are
  limited (see `bounds`), so that a template from a stranger fills no memory.

`judge_prompt` asks a judge tier about an answer to such a prompt.
"""

from cascade_batch.prompts.bounds import MAX_MADE_CHARS, MAX_PROMPT_CHARS, MAX_STEPS
from cascade_batch.prompts.errors import PromptError
from cascade_batch.prompts.judge import judge_prompt
from cascade_batch.prompts.maker import FormGuard, PromptMaker, compile_prompt

__all__ = [
    "MAX_MADE_CHARS",
    "MAX_PROMPT_CHARS",
    "MAX_STEPS",
    "FormGuard",
    "PromptError",
    "PromptMaker",
    "compile_prompt",
    "judge_prompt",
]
