"""Imports point one way, and no module grows beyond what is read in one go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_LINES = 400


def test_imports_point_one_way():
    command = Path(sys.executable).with_name("lint-imports")

    result = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("package", ["cascade_batch", "workers", "migrations", "tests"])
def test_no_file_is_too_long(package):
    lengths = {
        path.relative_to(ROOT): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".sql"}
    }

    too_long = {str(path): lines for path, lines in lengths.items() if lines > LONGEST_LINES}
    assert lengths
    assert too_long == {}
