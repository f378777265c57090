"""How a call may end, and how a client leaves: what the matrices of billing have in common."""

from typing import Final, Literal, get_args

from tests.e2e.house import Place, Stored
from tests.e2e.upstream import Gate
from tests.e2e.wire import Wire, eventually

End = Literal["leaves early", "leaves mid", "leaves late", "ends", "errors", "resets", "leaves pause", "leaves drained"]
Told = Literal[
    "given",
    "absent",
    "zero",
    "twice",
    "absurd",
    "negative",
    "beyond",
    "vast",
    "text",
    "float",
    "null",
    "output",
    "cached",
    "reasoning",
    "total",
]
ENDS: Final[tuple[End, ...]] = get_args(End)
# What is told with every end of a call; the rest are the ways to be absurd, told where an answer ends well.
TOLD: Final[tuple[Told, ...]] = get_args(Told)[:5]
ODD: Final[tuple[Told, ...]] = get_args(Told)[5:]

# Long enough to leave in, and short enough that the house waits for it itself.
WAIT_A_WHILE: Final = "retry-after: 5\r\n"


def leave_in_a_pause(here: Place, wire: Wire, failing: tuple[str, str]) -> None:
    """The client leaves while the house waits to try again: no provider is at work for it. `failing`: the deployment
    and the operation."""
    eventually(lambda: failing in here.house.troubled(), "the first attempt has not failed")
    wire.leave()


def leave_unseen(here: Place, wire: Wire) -> None:
    """The client leaves, and the house knows it; the provider must not."""
    server = here.house.house.server
    assert server is not None
    connections = server.server_state.connections
    before = len(connections)
    wire.leave()
    eventually(lambda: len(connections) < before, "the house has not seen the client leave")


def leave(here: Place, wire: Wire, gate: Gate) -> None:
    """The client leaves while the upstream waits at the gate: the gateway closes there within a second."""
    assert gate.reached.wait(10)
    left = wire.leave()
    visit = here.upstream.visit()
    assert visit.left.wait(10)
    assert visit.left_at - left < 1.0
    assert len(here.upstream.visits) == 1


def check_settled(stored: Stored, cost: int, source: str, ended_by: str) -> None:
    """Record, hold and entries say the same: settled, at this cost in nano-units of USD."""
    record, hold, entries = stored
    assert (record["ended_by"], record["usage_source"]) == (ended_by, source)
    assert (record["cost"], record["currency"]) == (cost, "USD")
    assert record["hold_state"] == "settled"
    assert hold is not None
    assert (hold["state"], hold["charged"], hold["currency"]) == ("settled", cost, "USD")
    assert hold["ended_at"] is not None
    legs = [(leg["ledger_account"], leg["amount"], leg["usage_source"]) for leg in entries]
    account = f"account:{record['account_id']}"
    provider = f"provider:{record['provider']}"
    assert legs == ([(account, cost, source), (provider, -cost, source)] if cost else [])


def check_released(stored: Stored, ended_by: str) -> None:
    """Record and hold say that nothing was charged."""
    record, hold, entries = stored
    assert (record["ended_by"], record["usage_source"], record["cost"]) == (ended_by, None, None)
    assert hold is not None
    assert (hold["state"], hold["charged"]) == ("released", 0)
    assert entries == []
