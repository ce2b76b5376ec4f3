"""Finding models: where they are taken from, and that damaged ones are not."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cascade_batch.errors import UsageError
from cascade_batch.providers.local_gguf import CATALOGUE, CatalogueModel, find_model, pip_command
from cascade_batch.providers.local_gguf import catalogue as module

PIECES = (b"first half, ", b"second half")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogueModel:
    """A catalogue entry in two parts, installed as two packages."""
    whole = b"".join(PIECES)
    site = tmp_path / "site"
    parts = []
    for number, piece in enumerate(PIECES):
        package = f"weights_{tmp_path.name.replace('-', '_')}_{number}"
        folder = site / package / "data"
        folder.mkdir(parents=True)
        # Would be noticed if anything of the package were run.
        (site / package / "__init__.py").write_text("raise RuntimeError('imported')")
        (folder / "piece").write_bytes(piece)
        parts.append((package, "data/piece"))
    monkeypatch.syspath_prepend(str(site))
    made = replace(
        CATALOGUE["gemma-3-270m"],
        name="halves",
        file_name="halves.gguf",
        parts=tuple(parts),
        sha256=hashlib.sha256(whole).hexdigest(),
        size_bytes=len(whole),
    )
    monkeypatch.setitem(CATALOGUE, "halves", made)
    return made


def part_file(model: CatalogueModel, number: int) -> Path:
    return Path(sys.path[0], model.parts[number][0], model.parts[number][1])


def test_parts_are_joined_without_running_the_packages(
    model: CatalogueModel, tmp_path: Path
) -> None:
    found = find_model("halves", tmp_path / "models")
    assert found == tmp_path / "models" / "halves.gguf"
    assert found.read_bytes() == b"".join(PIECES)
    assert not list((tmp_path / "models").glob(".*")), "nothing half-made is left behind"


def test_a_damaged_part_is_named_and_never_served(model: CatalogueModel, tmp_path: Path) -> None:
    part_file(model, 1).write_bytes(b"second hafl")
    with pytest.raises(UsageError) as raised:
        find_model("halves", tmp_path / "models")
    assert model.sha256 in raised.value.message
    assert "--force-reinstall" in (raised.value.hint or "")
    assert not (tmp_path / "models" / "halves.gguf").exists()


def test_a_missing_part_tells_size_licence_and_command(
    model: CatalogueModel, tmp_path: Path
) -> None:
    part_file(model, 0).unlink()
    with pytest.raises(UsageError) as raised:
        find_model("halves", tmp_path / "models")
    assert model.licence in raised.value.message
    assert pip_command(model) in (raised.value.hint or "")


def test_a_file_put_there_by_hand_is_taken(model: CatalogueModel, tmp_path: Path) -> None:
    for number in range(2):
        part_file(model, number).unlink()
    placed = tmp_path / "halves.gguf"
    placed.write_bytes(b"".join(PIECES))
    assert find_model("halves", tmp_path) == placed


def test_a_file_is_read_once_and_again_when_it_changes(
    model: CatalogueModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_model("halves", tmp_path)
    reads: list[object] = []
    real = module._sha256
    monkeypatch.setattr(module, "_sha256", lambda paths: reads.append(paths) or real(paths))
    assert find_model("halves", tmp_path) == found
    assert not reads
    found.write_bytes(b"first half, second hafl")
    with pytest.raises(UsageError, match="SHA-256"):
        find_model("halves", tmp_path)


def test_an_unknown_name_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        find_model("gpt-5", tmp_path)
    assert all(name in raised.value.message for name in CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_command_installs_exactly_one_version_of_every_part(name: str) -> None:
    model = CATALOGUE[name]
    packages = {r.split("==")[0].replace("-", "_") for r in model.requirements}
    assert {package for package, _ in model.parts} <= packages
    assert all("==" in requirement for requirement in model.requirements)
    assert "--no-deps" in pip_command(model)
