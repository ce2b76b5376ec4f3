"""What docs/python.md tells a reader to type does work, in the order in which it stands there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import types
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "docs" / "python.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_cell(code: str, names: dict[str, Any]) -> None:
    """Run a cell as a notebook does: `await` may stand outside of functions."""
    compiled = compile(code, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & inspect.CO_COROUTINE:
        asyncio.run(types.FunctionType(compiled, names)())
    else:
        exec(compiled, names)


def test_the_page_on_python_tells_the_truth(folder, capsys):
    names: dict[str, Any] = {"__name__": "__main__"}
    blocks = _BLOCK.findall(PAGE.read_text("utf-8"))

    for block in blocks:
        run_cell(block, names)

    assert len(blocks) >= 7
    assert names["answers"]["value"].to_dict() == {
        "mon": "up",
        "tue": "down",
        "wed": "none",
        "thu": "up",
    }
    assert names["scores"].dtype == "Int64"
    assert (folder / "headlines.html").exists()
    told = capsys.readouterr()
    assert "headlines: finished; 4 of 4 rows answered" in told.out
    assert "headlines: finished; 4 of 4 rows answered" in told.err
    assert "DataFrame, index 'mon': " in told.out
    assert names["merged"]["answer"].tolist() == ["up", "down"]
    assert "OK: " in told.out
    assert "The budget of job 'headlines' is $0.1500 now" in told.out
