"""cascade-batch: run language models over data sets inside a hard budget."""

__version__ = "0.1.0"
