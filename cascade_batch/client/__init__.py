"""What a person's side of a job needs, whichever face they meet it by: the command line or Python.

`services` finds the database and the broker and starts the embedded stack; `submission` stores a job that was
read; `reading` asks about one; `expectation` says what a frontier promises. The command line is built on
these, and so is the Python API (`submit`, `job`, `jobs` and `Job`, offered by the package itself).
"""
