"""A job's report: one page, complete in itself, that a person would forward to their manager.

Three steps, each knowing only the one before: `facts` asks the database for sums and counts (never for all
rows), `bars` and `curves` draw them on a `canvas`, `page` puts words, tables and charts together. What must
not happen: that a text of a row or of a provider becomes markup (the template escapes everything, and the
page forbids all scripts), and that what nobody labelled is called right, accurate or of any quality.
"""

from cascade_batch.results.report.facts import Facts, read_facts
from cascade_batch.results.report.page import Subject, render_page

__all__ = ["Facts", "Subject", "read_facts", "render_page"]
