"""A house whose whole data folder is on a disk that really fills up: `python -m tests.chaos_embedded.small_disk FOLDER
SEED`, where FOLDER is on a file system of a few megabytes. Ends with 0 where everything held.

Here the database has no room either, nor has whoever writes to it: the control plane may say so, and nothing breaks.
"""

import errno
import os
import sys
from pathlib import Path
from random import Random
from typing import Final

from tests.chaos_embedded.books import billed, purses, remembered, sound
from tests.chaos_embedded.lives import Load, counts_tokens
from tests.e2e.house import ADMIN_KEY, PRICE, RunningHouse, provider, running
from tests.e2e.upstream import Upstream
from tests.e2e.wire import eventually

DOLLAR: Final = 10**9
_PIECE: Final = 4096


class Ballast:
    """A file that takes all the room there is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            for size in (_PIECE * 16, _PIECE):
                try:
                    while os.write(descriptor, b"\0" * size):
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
        finally:
            os.close(descriptor)

    def drop(self) -> None:
        self._path.unlink()


def ready(house: RunningHouse) -> bool:
    with house.wire() as wire:
        return wire.ask("/readyz", method="GET").status == 200


def play(folder: Path, seed: int) -> None:
    random, ballast = Random(seed), Ballast(folder / "ballast")
    with Upstream() as upstream:
        upstream.scripts["m"] = counts_tokens
        config = provider(upstream.base_url) + PRICE
        with running(folder, config) as house:
            with house.wire() as wire:
                found = purses(wire, (DOLLAR, 2 * DOLLAR, 3 * DOLLAR))
            load = Load(random, [ADMIN_KEY, *(purse.key for purse in found)])
            for _ in range(3):
                refused = load.statuses[503]
                load.until(house.port, random.randint(1, 300), ballast.fill)
                # The last block of the journal's file may have room for some more.
                while load.statuses[503] == refused:
                    load.until(house.port, 50, ballast.fill)
                assert not ready(house)
                with house.wire() as wire:
                    answer = wire.ask("/admin/api/keys", {"name": "none"}, ADMIN_KEY)
                assert answer.status in (201, 503), answer  # what the database had put by may be enough for it
                load.until(house.port, random.randint(1, 300), ballast.drop)
                eventually(lambda: ready(house), "the house does not open again")
            load.until(house.port, 50, lambda: None)
            house.verified()
            books = billed(house.house.database, load)
            unpaid = [one for one in load.begun if not books.holds[one]["charged"]]
            assert unpaid == []
            remembered(house, found)
        with running(folder, config) as house:
            sound(house.house.database)
            remembered(house, found)


if __name__ == "__main__":
    play(Path(sys.argv[1]), int(sys.argv[2]))
