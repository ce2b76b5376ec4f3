"""The store: tables, engine, migrations and the queries that are about no money.

Postgres is the truth. Money is written by `cascade_batch.ledger` alone.
"""
