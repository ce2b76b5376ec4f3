"""The sweeper's page: what it counts itself, and what the database knows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cascade_batch.monitoring.catalogue import LEASE_EXPIRIES, SWEEPS
from cascade_batch.monitoring.meter import Deltas, Key
from cascade_batch.settings import Settings

if TYPE_CHECKING:
    from cascade_batch.monitoring.figures import Figures


class SweeperMetrics:
    """What the sweeper counts, and what the database knows; does nothing unless metrics are switched on."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._figures: Figures | None = None
        if settings.metrics_port is None:
            return
        # Only here: what serves nobody need not be loaded.
        from cascade_batch.monitoring.database import DatabaseFigures
        from cascade_batch.monitoring.exporter import Exporter
        from cascade_batch.monitoring.figures import Figures

        self._figures = Figures()
        self._database = DatabaseFigures(database_url)
        self._exporter = Exporter(settings, self._figures, self._database)

    def swept(self, freed: int) -> None:
        """A round is over, in which so many leases had run out."""
        if self._figures is not None:
            counted: dict[Key, float] = {
                (SWEEPS.name, ()): 1.0,
                (LEASE_EXPIRIES.name, ()): float(freed),
            }
            self._figures.add(os.getpid(), Deltas(counted))

    def close(self) -> None:
        """Serve no more."""
        if self._figures is not None:
            self._exporter.close()
            self._database.close()
