"""Asking models: wire formats, the one call, prices, and the most that a call can cost.

`Providers` is all that the engine holds. It makes request bodies and calls; a call is one request,
is never tried again here, and comes back as one of three outcomes, which the ledger follows:

- `Answered`: the whole answer arrived and could be read. It costs what its usage says. An answer
  may be empty, cut off (`finish_reason` "length") or a refusal of the model's; all are paid for.
- `Refused`: the provider, or the network before anything was sent, did no work. It costs nothing.
  Its kind says what has to wait or stop.
- `Unknown`: the request was sent, and what became of it can't be known. It is written off at its
  worst case.

In doubt it is `Unknown`: money is never given back on a guess. `calling` holds the rules, `refusals`
those for error statuses. A tier's key is read from the environment when it is called and never
shown; messages are cleared of it and cut to 500 characters.
"""

from cascade_batch.providers.prices import freeze_price
from cascade_batch.providers.provider import Provider
from cascade_batch.providers.registry import Providers
from cascade_batch.providers.worst_case import UnboundedInputError, worst_case_nanousd

__all__ = [
    "Provider",
    "Providers",
    "UnboundedInputError",
    "freeze_price",
    "worst_case_nanousd",
]
