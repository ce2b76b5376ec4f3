"""What `import cascade_batch` offers, and what it does not load."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields

import cascade_batch
from cascade_batch.client.job_arguments import JobArguments
from cascade_batch.engine.spec_files import JobOptions

HEAVY = {"pandas", "pyarrow", "numpy", "sqlalchemy", "psycopg", "celery", "pydantic", "IPython"}
RENAMED = {"job_file": "job", "tiers_file": "tiers"}

LOOK = """
import sys, cascade_batch
print(*sys.modules, sep=",")
from cascade_batch import *
print(*sys.modules, sep=",")
"""


def test_importing_the_package_loads_nothing_heavy_and_its_functions_little():
    told = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)

    package, functions = (set(line.split(",")) & HEAVY for line in told.stdout.splitlines())
    assert package == set()
    assert functions <= {"pydantic"}


def test_all_public_names_are_there_and_documented():
    for name in cascade_batch.__all__:
        assert name == "__version__" or inspect.getdoc(getattr(cascade_batch, name))
        assert name in dir(cascade_batch)


def test_what_the_command_line_can_say_of_a_job_python_can_say_as_well():
    options = {RENAMED.get(field.name, field.name) for field in fields(JobOptions)}

    assert options == set(inspect.signature(cascade_batch.submit).parameters)
    assert options - {"data"} == set(JobArguments.__annotations__)
