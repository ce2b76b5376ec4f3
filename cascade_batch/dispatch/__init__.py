"""Celery: the only package, with `workers/`, that knows it.

Messages are hints that carry ids. Everything here may be lost, doubled or late without harm: a task
takes what the table has for its tiers, and ends at once if that is nothing.
"""
