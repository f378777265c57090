"""Whether everything holds: what clients received, what the provider has seen, and what the books say, side by side.

`judged` is pure: evidence in, sentences about what does not hold out. docs/billing.md has the rules that it names.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct, field

from tests.chaos.clients import Received
from tests.chaos.wishes import cost_of, number_of

AWAY_MS: Final = 8_000
"""Nobody waits for the journal of a server that is away for longer, when a budget is read anew (ten seconds)."""


class Booked(Struct, frozen=True):
    """A request in the books: its hold and its record, as far as there are any. Nano-units, tokens, ms."""

    id: str
    key: str
    account: str
    state: str
    charged: int
    held: int
    owner: str
    ended_at: int
    source: str | None
    usage: tuple[int, int] | None
    cost: int | None


class Budget(Struct, frozen=True):
    """Of a key or an account, by its id and name."""

    id: str
    name: str
    amount: int


class Absence(Struct):
    """Of a server, by the name of its journal; ms since the epoch. `back_at` 0: it is away. `lost`: the requests of
    which only its journal knew something, None until that was looked at."""

    owner: str
    began_at: int
    back_at: int = 0
    lost: frozenset[str] | None = None

    @property
    def long(self) -> bool:
        return not self.back_at or self.back_at - self.began_at > AWAY_MS


class Evidence(Struct):
    """`seen`: the numbers that the provider has seen, each with the name of its key; `names` are those of keys by their
    ids, `servers` the names of journals by the servers' numbers; `forgot`: Redis was empty once."""

    received: Sequence[Received]
    booked: Sequence[Booked]
    seen: dict[int, str]
    names: dict[str, str]
    budgets: Sequence[Budget] = ()
    absences: Sequence[Absence] = ()
    servers: dict[int, str] = field(default_factory=dict)
    forgot: bool = False


def judged(found: Evidence) -> list[str]:
    """What does not hold; empty where everything does."""
    away = {one.owner for one in found.absences if not one.back_at}
    return [
        *_hung(found.received),
        *_open(found.booked, away),
        *_billed_once(found, away),
        *_seen_before_billed(found),
        *_within_budgets(found),
    ]


def _hung(received: Sequence[Received]) -> Iterator[str]:
    for one in received:
        if one.hung:
            yield f"request {one.wish.number} of {one.wish.key} hung at server {one.server} ({one.status or 'no head'})"


def _open(booked: Sequence[Booked], away: set[str]) -> Iterator[str]:
    for one in booked:
        if one.state == "held" and one.owner not in away:
            yield f"HOLD-1: {one.id} is still held by {one.owner}"


def _billed_once(found: Evidence, away: set[str]) -> Iterator[str]:
    """END-1, COUNT-1: every answer that somebody had whole is there, at its price, and no two charges are for one."""
    by_id = {one.id: one for one in found.booked}
    for answer in found.received:
        if not answer.whole:
            continue
        what = f"answer {answer.wish.number} of {answer.wish.key} ({answer.id}, server {answer.server})"
        assert answer.usage is not None
        cost = cost_of(answer.usage)
        booked = by_id.get(answer.id)
        if booked is None or booked.state != "settled":
            if found.servers.get(answer.server) not in away:
                yield f"END-1: {what} was not billed: {'nothing is known' if booked is None else booked.state}"
        elif (booked.charged, booked.cost, booked.usage) != (cost, cost, answer.usage):
            booking = f"{booked.charged} was charged for {booked.usage}, and {booked.cost} recorded"
            yield f"END-1: {what} cost {cost}, but {booking}"
        elif answer.cost is not None and answer.cost != cost:
            yield f"END-1: {what} said that it cost {answer.cost}, and it cost {cost}"
    told = Counter(one.usage for one in found.booked if one.source == "provider")
    for usage, times in told.items():
        if times > 1 and usage is not None:
            yield f"HOLD-1: request {number_of(usage)} was charged {times} times"


def _seen_before_billed(found: Evidence) -> Iterator[str]:
    """END-2, END-7: nobody is charged for what no provider has seen. What the provider has counted says which request
    it is for; of what was counted here, there is no more than the provider has seen beside those.

    END-3: who leaves at once is charged for what was sent to the provider, though it may not have read that before the
    connection ended. These count as seen."""
    seen = Counter(found.seen.values())
    seen.update(one.wish.key for one in found.received if one.left == "early" and one.wish.number not in found.seen)
    for one in found.booked:
        if not one.charged:
            continue
        name = found.names.get(one.key, one.key)
        seen[name] -= 1
        if one.source == "provider" and one.usage is not None and found.seen.get(number_of(one.usage)) != name:
            yield f"END-7: {one.id} of {name} was charged for {number_of(one.usage)}, which no provider has seen"
    for name, left in seen.items():
        if left < 0:
            yield f"END-7: {-left} requests of {name} were charged that no provider has seen"


def _within_budgets(found: Evidence) -> Iterator[str]:
    """BUDGET-14. The provider never tells more usage than was held, so nothing may go beyond."""
    spent: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for one in found.booked:
        committed = one.held if one.state == "held" else one.charged
        spent[one.key] += committed
        spent[one.account] += committed
        if found.forgot and any(_was_lost(one, absence) for absence in found.absences):
            unknown[one.key] += committed
            unknown[one.account] += committed
    for budget in found.budgets:
        over = spent[budget.id] - budget.amount - unknown[budget.id]
        if over > 0:
            yield f"BUDGET-14: {budget.name} of {budget.amount} is overspent by {over}"


def _was_lost(one: Booked, absence: Absence) -> bool:
    """Whether only the journal of a server knew it that nobody waited for."""
    return absence.long and absence.lost is not None and one.id in absence.lost


def rate_bound(rpm: int, seconds: float, gates: int = 1) -> int:
    """How many requests `gates` that count by themselves let through in so long: each its burst, and what leaks."""
    return int(gates * (rpm + rpm * seconds / 60))
