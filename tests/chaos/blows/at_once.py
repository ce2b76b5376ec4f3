"""Blows that need no preparation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tests.chaos.scene import Scene


def at_once(
    deal: Callable[[Scene], bool],
) -> Callable[[Scene], contextlib.AbstractContextManager[Callable[[], bool]]]:
    """Make a blow of a function that deals it."""

    @contextlib.contextmanager
    def blow(scene: Scene) -> Iterator[Callable[[], bool]]:
        yield lambda: deal(scene)

    return blow
