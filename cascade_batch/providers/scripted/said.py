"""An answer as a model gives it, before any fault, and how tokens are counted and cut.

Tokens that no recording gives are counted simply: a token is up to four bytes of UTF-8, so that a
text never has more tokens than bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Said:
    """An answer before any fault.

    Attributes:
        text: The answer.
        output_tokens: Its tokens, without reasoning.
        input_tokens: The prompt's tokens; None: counted from its bytes.
        logprob: Log-probability of the whole answer; None: not known.
        alternatives: Other tokens in the first one's place with their log-probabilities.
        finish_reason: In OpenAI's words.
        refusal: The model declined.
    """

    text: str
    output_tokens: int
    input_tokens: int | None = None
    logprob: float | None = None
    alternatives: tuple[tuple[str, float], ...] = ()
    finish_reason: str = "stop"
    refusal: bool = False

    def cut(self, max_tokens: int) -> Said:
        """The answer as it is where the model may write no more than `max_tokens`."""
        if self.output_tokens <= max_tokens:
            return self
        kept = self.pieces()[:max_tokens]
        share = max_tokens / self.output_tokens
        return replace(
            self,
            text="".join(kept),
            output_tokens=max_tokens,
            logprob=None if self.logprob is None else self.logprob * share,
            finish_reason="length",
        )

    def pieces(self) -> list[str]:
        """The text as `output_tokens` tokens; the last ones are empty where it has fewer characters."""
        text, count, length = self.text, self.output_tokens, len(self.text)
        if count == 1:
            return [text]
        if count >= length:
            return list(text) + [""] * (count - length)
        return [text[i * length // count : (i + 1) * length // count] for i in range(count)]

    def piece_logprobs(self) -> list[float]:
        """A log-probability for every piece, in even parts that add up to `logprob`."""
        count, total = self.output_tokens, self.logprob or 0.0
        if count <= 1:
            return [total] * count
        part = total / count
        return [part] * (count - 1) + [total - part * (count - 1)]


def token_count(byte_count: int) -> int:
    """Tokens of a text by its bytes of UTF-8."""
    return -(-byte_count // _BYTES_PER_TOKEN)
