"""`python -m cascade_batch.providers.scripted SCRIPT [PORT]`: what `spawn_provider` starts."""

from __future__ import annotations

import sys

from cascade_batch.errors import CascadeError
from cascade_batch.providers.scripted.serving import serve


def _announce(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Serve until told to stop; returns the exit code."""
    port = int(arguments[1]) if len(arguments) > 1 else 0
    try:
        serve(arguments[0], host="127.0.0.1", port=port, announce=_announce)
    except CascadeError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
