"""Rows in batches, as they come: of the last second or of a few megabytes, whether or not more follow.

A thread reads, so that nobody who waits for the next row of a slow pipe keeps those that are there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cascade_batch.engine.row_bounds import RowBounds

BATCH_S = 1.0
"""How long rows wait for others to be stored with them."""
BATCH_BYTES = 4 << 20


@dataclass(slots=True)
class Batch:
    """Rows that follow each other.

    Attributes:
        rows: Those of `ingest.packed_rows`.
        worst: A row's worst case on each tier, in nano-dollars.
        is_last: The data set ends with it.
    """

    rows: list[bytes] = field(default_factory=list)
    worst: list[tuple[int, ...]] = field(default_factory=list)
    is_last: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def worst_nanousd(self) -> NDArray[np.int64]:
        """[rows, tiers] the worst cases."""
        return np.array(self.worst, dtype=np.int64)


class Batches:
    """Reads in a thread of its own from the moment that it is entered.

    Args:
        rows: Those of `ingest.packed_rows`; closed by nobody but the thread.
        bounds: Holds the worst cases of the row that was given last.
    """

    def __init__(self, rows: Iterator[bytes], bounds: RowBounds) -> None:
        self._rows = rows
        self._bounds = bounds
        self._changed = threading.Condition()
        self._batch = Batch()
        self._bytes = 0
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None
        # What waits for a pipe can't be told to stop, and must keep no process alive.
        self._thread = threading.Thread(
            # Errors are worded for whoever submits.
            target=partial(copy_context().run, self._read),
            name="reading",
            daemon=True,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def next(self) -> Batch:
        """What has come since the last time; empty where that is nothing.

        Raises:
            BaseException: What the reader raised; rows that came before it are not given.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._bytes >= BATCH_BYTES, BATCH_S)
            batch, self._batch, self._bytes = self._batch, Batch(), 0
            batch.is_last = self._ended
            self._changed.notify_all()
            if self._error is not None:
                raise self._error
        return batch

    def _read(self) -> None:
        try:
            for row in self._rows:
                with self._changed:
                    self._changed.wait_for(lambda: self._bytes < BATCH_BYTES or self._stopped)
                    if self._stopped:
                        return
                    self._batch.rows.append(row)
                    self._batch.worst.append(self._bounds.worst_nanousd)
                    self._bytes += len(row)
                    if self._bytes >= BATCH_BYTES:
                        self._changed.notify_all()
        except BaseException as error:
            # Whoever asks for the next batch is told.
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
