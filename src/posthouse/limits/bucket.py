"""One bucket: the generic cell rate algorithm in its leaky-bucket form (ITU-T I.371 annex A), in whole numbers.

A charge raises the level, time lowers it, and a charge that would pass the brim is refused. So in any span of T seconds
at most `limit * (1 + T / 60)` is admitted, and never a rounding more.

Tokens are charged ahead, at the most that a request may use, and corrected when it ends. Giving back the whole
difference would be wrong: part of it has leaked out since, and whoever came later has had the use of that. Exact is the
level that would stand had only the actual tokens been charged in the first place:

    max(level - difference, level of a bucket that was empty then and had only the later charges)

The second term is what `Mark.low` is kept for. With `net` the sum of all charges less all leaking, never stopped at the
bottom, a bucket that was empty at time t stands at `net - (least net since t)`. Each open charge keeps the least net
from its own time to the next open charge's; the bucket as a whole stands at `net - (least of them all)`.
"""

from typing import Final

# One token in units of the level; `limit` units leak in a microsecond, so a full bucket empties in exactly a minute,
UNIT: Final = 60_000_000
# or in an hour.
HOUR_UNIT: Final = 60 * UNIT

# Open charges that keep a mark of their own. More than that share the last one, which can only give back too little.
MAX_MARKS: Final = 64


class Mark:
    """An open charge, or several: the least net since it began and before the next mark did."""

    __slots__ = ("low", "open")

    def __init__(self, low: int) -> None:
        self.low = low
        self.open = 1


class Bucket:
    """`limit` is per minute, or per what `unit` says. Times are microseconds of a clock that never goes back.

    `level`, `idle` and `wait` are as of the last call that was given a time.
    """

    __slots__ = ("_at", "_brim", "_floor", "_marks", "_net", "limit", "unit")

    def __init__(self, limit: int, now: int, unit: int = UNIT) -> None:
        self.limit = limit
        self.unit = unit
        self._brim = limit * unit
        self._at = now
        self._net = 0
        self._floor = 0  # the least net of all marks
        self._marks: list[Mark] = [Mark(0)]  # the first is no charge: it stands for the time before the oldest open one

    def advance(self, now: int) -> None:
        """Lets leak what leaks until `now`."""
        if now <= self._at:
            return
        net = self._net = self._net - self.limit * (now - self._at)
        self._at = now
        marks = self._marks
        if len(marks) == 1:
            if net < 0:
                self._net = 0
            return
        if net < marks[-1].low:
            marks[-1].low = net
            self._floor = min(self._floor, net)

    def change(self, limit: int) -> None:
        """Another limit from now on; what was taken stays taken."""
        self.limit = limit
        self._brim = limit * self.unit

    @property
    def level(self) -> int:
        """In units. Above the brim after a request used more than was charged ahead, or a limit was lowered."""
        return self._net - self._floor

    @property
    def idle(self) -> bool:
        """Whether forgetting this bucket would lose nothing."""
        return self._net == self._floor and len(self._marks) == 1

    def fits(self, units: int, now: int) -> bool:
        self.advance(now)
        return self._net - self._floor + units <= self._brim

    def wait(self, units: int) -> int | None:
        """Microseconds until `units` fit, 0 when they do now, None when they never will."""
        if units > self._brim:
            return None
        over = self.level + units - self._brim
        return -(-over // self.limit) if over > 0 and self.limit else 0

    def charge(self, units: int) -> None:
        """Takes `units` for good, whether they fit or not."""
        self._net += units

    def charge_ahead(self, units: int) -> Mark:
        """Takes `units`, whether they fit or not, until `settle`."""
        self._net += units
        if len(self._marks) > MAX_MARKS:
            mark = self._marks[-1]
            mark.open += 1
        else:
            mark = Mark(self._net)
            self._marks.append(mark)
        return mark

    def settle(self, mark: Mark, excess: int, now: int) -> None:
        """Ends a charge that was `excess` units too high (or too low, when negative: the rest is charged now)."""
        self.advance(now)
        marks = self._marks
        if len(marks) == 2 and mark.open == 1:
            # The only open charge, as nearly always: 0.6 us instead of 1.3. What it leaves is what stands above the
            # least net of all time, its own included.
            low = min(marks[0].low, mark.low - excess if excess > 0 else mark.low)
            self._net -= excess + low
            self._floor = marks[0].low = 0
            del marks[1]
            return
        index = marks.index(mark)
        if excess <= 0:
            self._net -= excess
        else:
            # All that came later stands lower by the excess. Only differences count, so what came before is raised
            # instead: nearly always few, since the oldest charges end first. (With 32 open: 2.3 us instead of 6.2.)
            for before in marks[:index]:
                before.low += excess
            if marks[-1].low != self._floor:
                self._floor = min([each.low for each in marks])
        mark.open -= 1
        if not mark.open:
            before = marks[index - 1]
            before.low = min(before.low, mark.low)
            del marks[index]
        if len(marks) == 1:
            self._net -= marks[0].low
            self._floor = marks[0].low = 0
