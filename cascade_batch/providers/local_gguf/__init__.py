"""`api: local`: models in GGUF files, run on this machine by llama.cpp, without a key or a compiler.

    tiers:
      - name: small
        api: local
        model: smollm2-135m-instruct     # an entry of the catalogue; or gguf: /path/to/any.gguf
        price: {second: 0.00002}         # declared price of your own machine, USD per second
        max_output_tokens: 4
        logprobs: true

llama.cpp brings an HTTP server of its own that speaks OpenAI's wire format; the wheel `xllamacpp` carries
it. `servers` starts one per model, which the worker processes of the machine share and which ends with the
last of them. `provider` calls it, as any other server is called, and holds answers to the job's choices or
JSON schema. `catalogue` finds the models that can be installed with pip.

Half of the machine's cores serve a model, unless `CASCADE_GGUF_THREADS` says how many;
`limits: {concurrency: N}` of the tier is how many calls a server works on at once. Models that were joined
of parts, notes and logs lie in `models` in `CASCADE_HOME`.
"""

from cascade_batch.providers.local_gguf.catalogue import (
    CATALOGUE,
    CatalogueModel,
    find_model,
    pip_command,
)
from cascade_batch.providers.local_gguf.provider import LocalGgufProvider, plan_of

__all__ = [
    "CATALOGUE",
    "CatalogueModel",
    "LocalGgufProvider",
    "find_model",
    "pip_command",
    "plan_of",
]
