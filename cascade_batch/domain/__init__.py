"""Frozen values and states. No I/O, no Celery, no SQL: every other package speaks in these terms."""
