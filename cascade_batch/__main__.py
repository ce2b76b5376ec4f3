"""`python -m cascade_batch`: the same as the command `cascade-batch`."""

from cascade_batch.cli.main import main

main()
