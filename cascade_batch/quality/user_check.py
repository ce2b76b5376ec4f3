"""A check that the user wrote: `python:module.function`, called as `function(value, gold)`.

The function returns True or False, a mark between 0 and 1 (0.5 and more passes), or None where it can't
say. What it raises is reported with the row and leaves the row undecided: a fault of the check is no
reason to buy a dearer answer.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from cascade_batch.errors import UsageError
from cascade_batch.quality.text import shorten

UserCheck = Callable[[Any, str | None], tuple[bool | None, str | None]]


def make_user_check(target: str, check_path: str | None) -> UserCheck:
    """Import the function and wrap it.

    Args:
        target: `module.function`.
        check_path: Folder to import from first; None: only what Python finds by itself.

    Raises:
        UsageError: The module can't be imported or holds no such function.
    """
    module_name, _, function_name = target.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in target.split(".")):
        raise UsageError(
            f"check 'python:{target}' does not name a module and a function.",
            hint="Write python:module.function, for example python:checks.is_right.",
        )
    where = f" (looked in {check_path} first)" if check_path else ""
    try:
        module = _load(module_name, check_path)
    except Exception as error:
        raise UsageError(
            f"check 'python:{target}' can't be imported{where}: {type(error).__name__}: {error}",
            hint="Put the module beside the job file, or where the workers' Python finds it.",
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(
            f"check 'python:{target}': module {module_name} has no function {function_name!r}{where}.",
            hint="Define it there, called with (value, gold).",
        )
    return _wrap(function, function_name)


def _load(module_name: str, check_path: str | None) -> ModuleType:
    if check_path is None:
        return importlib.import_module(module_name)
    folder = Path(check_path).resolve()
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    file = folder / f"{module_name}.py"
    if not file.is_file():
        return importlib.import_module(module_name)
    # One worker serves many jobs, and two of them may each have a checks.py of their own: loaded by
    # its file and under a name of its own, neither is taken for the other or for an older version.
    unique_name = f"_cascade_check_{sha256(str(file).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(unique_name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} can't be loaded as a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique_name]
        raise
    return module


def _wrap(function: Callable[[Any, str | None], Any], name: str) -> UserCheck:
    def check(value: Any, gold: str | None) -> tuple[bool | None, str | None]:
        try:
            result = function(value, gold)
        except Exception as error:
            return None, f"check {name} raised {type(error).__name__}: {shorten(str(error), 120)}"
        if result is None:
            return None, None
        try:
            mark = float(result) if not isinstance(result, str | bytes) else math.nan
        except (TypeError, ValueError, OverflowError):
            mark = math.nan
        if not 0.0 <= mark <= 1.0:
            shown = shorten(result)
            return (
                None,
                f"check {name} returned {shown}; it must return a bool or a mark from 0 to 1",
            )
        return (True, None) if mark >= 0.5 else (False, f"check {name} gave {shorten(result)}")

    return check
