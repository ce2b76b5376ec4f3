"""The use cases: submit, run chunks, plan, sweep, pause, resume, cancel, delete.

Nothing here knows Celery. What has to be told to other processes goes through a `Publisher`, after
the transaction that makes it true; a message that is lost costs time, never rows: the sweeper finds
in Postgres what nobody works on.
"""
