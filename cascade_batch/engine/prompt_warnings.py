"""Prompts that look wrong before a row is read."""

from __future__ import annotations

import re

from cascade_batch.domain.job import JobSpec
from cascade_batch.prompts import compile_prompt

_ONE_BRACE = re.compile(r"\{\s*([^\W\d]\w*)\s*\}")
"""What Python's f-strings and `str.format` put a value in the place of."""


def prompt_warnings(spec: JobSpec, place: str) -> list[str]:
    """Warn of a prompt that asks the same of every row, a complete sentence each.

    Args:
        place: What the job's prompt is called, for messages: `--prompt`.
    """
    found = []
    if any(tier.prompt is None for tier in spec.tiers):
        found += _warnings(spec.system, spec.prompt, place)
    for tier in spec.tiers:
        found += _warnings(spec.system, tier.prompt, f"the prompt of tier {tier.name}")
    return found


def _warnings(system: str | None, template: str | None, place: str) -> list[str]:
    if template is None or not compile_prompt(system=system, template=template).is_same_for_all:
        return []
    brace = _ONE_BRACE.search(template)
    write = (
        f"Write {{{{ {brace[1]} }}}} instead of {brace[0]}"
        if brace
        else "Write {{ column }} where the text of a row's column belongs"
    )
    return [f"{place}: it names no column of the data, so every row asks the same. {write}."]
