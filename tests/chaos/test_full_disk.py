"""A disk that is full when results are exported: an error that says so, and no half file."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest

from benchmarks.rig import Rig, command
from cascade_batch.providers.scripted import SpawnedProvider

ROOM_BYTES = 16_384
"""What a file may hold: a file system that is full says ENOSPC, this limit EFBIG, at the same place."""


@pytest.fixture(scope="module")
def job(stack: Rig, server: SpawnedProvider) -> str:
    stack.run("submit", "data.jsonl", "--name", "full", "--budget", "1", "--limit", "500")
    return "full"


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("earlier", [None, b"what was there"])
def test_an_export_that_does_not_fit(
    stack: Rig, job: str, ending: str, earlier: bytes | None
) -> None:
    folder = stack.folder / f"export-{ending}-{earlier is None}"
    folder.mkdir()
    path = folder / f"out.{ending}"
    if earlier is not None:
        path.write_bytes(earlier)
    room = 1000 if ending == "parquet" else ROOM_BYTES  # its columns are packed
    done = _export(stack, job, path, room)
    assert done.returncode == 1
    assert f"{path} could not be written: " in done.stderr
    assert "File too large" in done.stderr
    assert "Make room" in done.stderr
    assert "Traceback" not in done.stderr
    left = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert left == ({} if earlier is None else {path.name: earlier})


def test_an_export_to_a_file_system_that_is_full(stack: Rig, job: str) -> None:
    folder = stack.folder / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system, and not everywhere")
    try:
        done = stack.call("results", job, "-o", str(folder / "out.jsonl"))
        left = list(folder.iterdir())
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert done.returncode == 1
    assert "out.jsonl could not be written: No space left on device" in done.stderr
    assert left == []


def test_standard_output_that_is_full(stack: Rig, job: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("results", job),
            cwd=stack.folder, env=dict(stack.environment), stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "Error: The results could not be written: No space left on device." in done.stderr


def _export(stack: Rig, job: str, path: Path, room: int) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    return subprocess.run(
        command("results", job, "-o", str(path)),
        cwd=stack.folder, env=dict(stack.environment), preexec_fn=limit, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
