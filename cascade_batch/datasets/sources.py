"""Where bytes come from: files, packed files, standard input."""

from __future__ import annotations

import contextlib
import gzip
import io
import select
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cascade_batch.errors import DataError, UsageError
from cascade_batch.near_names import file_beside
from cascade_batch.words import choose

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER_BYTES = 2**20


def open_bytes(source: str, packing: str) -> BinaryIO:
    """Open a data set for reading its unpacked bytes.

    Args:
        source: Path of a file, or `-` for standard input (which closing leaves open).
        packing: `.gz`, `.zst`, or nothing.

    Raises:
        DataError: The file is missing, a folder or may not be read. Reading raises it as well:
            the packed data is damaged or cut off.
    """
    if source == "-":
        if sys.stdin is None:
            raise UsageError("Standard input is closed.", hint="Name a file, or pipe one in.")
        return io.BufferedReader(_Translating(source, _read_stdin, None), _BUFFER_BYTES)
    check_file(source)
    try:
        raw = io.FileIO(source)
    except (OSError, ValueError) as error:
        raise unreadable(source, error) from None
    if packing == ".gz":
        unpacked = gzip.GzipFile(fileobj=raw)
        return io.BufferedReader(_Translating(source, unpacked.readinto, raw), _BUFFER_BYTES)
    if packing == ".zst":
        # Arrow's reader, as it notices a file that was cut off, and bounds what it unpacks at once.
        from pyarrow import CompressedInputStream

        stream = CompressedInputStream(raw, "zstd")
        return io.BufferedReader(_Translating(source, stream.readinto, raw), _BUFFER_BYTES)
    return io.BufferedReader(_Translating(source, raw.readinto, raw), _BUFFER_BYTES)


def _read_stdin(buffer: WriteableBuffer) -> int:
    stdin: io.BufferedReader = sys.stdin.buffer  # type: ignore[assignment]
    # Whoever waits for a pipe inside of `readinto1` holds a lock that Python wants at its end: if a thread
    # does so while the program ends, the program is aborted. A program's own reader has no descriptor, maybe.
    with contextlib.suppress(io.UnsupportedOperation):
        select.select([stdin.fileno()], [], [])
    # readinto1 gives what is there; readinto would wait until the buffer is full.
    return stdin.readinto1(buffer)


def check_file(source: str) -> None:
    """Refuse what is no file, in words that help.

    Raises:
        DataError: There is no such file, or it is a folder.
    """
    try:
        path = Path(source)
        if path.is_dir():
            raise DataError(
                "this is a folder, not a file", source=source, hint="Name one file inside it."
            )
        found = path.exists()
    except (OSError, ValueError) as error:
        raise unreadable(source, error) from None
    if not found:
        hint = (
            file_beside(path) or "Check the name and the working folder; `-` reads standard input."
        )
        if "://" in source:
            hint = choose(
                command_line="Download it first, or pipe it in: curl URL | cascade-batch submit - …",
                python="Download it first, or give what is read from it: pandas.read_csv(URL), say.",
            )
        raise DataError("there is no such file", source=source, hint=hint)


def unreadable(source: str, error: Exception) -> DataError:
    """The error of a file that the system or an unpacker can't read."""
    if isinstance(error, PermissionError):
        return DataError(
            "the file may not be read", source=source, hint="Check its owner and permissions."
        )
    # An unpacker's message may end with a dot and run over several lines; ours are one sentence.
    why = " ".join((getattr(error, "strerror", None) or str(error)).split()).rstrip(".")
    return DataError(
        f"the file can't be read: {why or type(error).__name__}",
        source=source,
        hint="It may be damaged, cut off, or of another format than its ending says.",
    )


class _Translating(io.RawIOBase):
    """A raw stream whose errors name the data set."""

    def __init__(
        self,
        source: str,
        readinto: Callable[[WriteableBuffer], int | None],
        closes: io.RawIOBase | None,
    ) -> None:
        self._source = source
        self._readinto = readinto
        self._closes = closes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        try:
            return self._readinto(buffer)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise unreadable(self._source, error) from None

    def close(self) -> None:
        if self._closes is not None:
            self._closes.close()
        super().close()
