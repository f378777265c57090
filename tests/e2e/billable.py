"""What the matrix of billing knows of a route that costs money: `Billable`. Each is registered once, in one of the
`*_routes.py`; `test_billing_matrix.py` runs every case over all of them.

A case is a route, the measure that it is sold by, what its provider tells of usage, and how the call ends. The answer
that a script gives is laid out by `Whole` or `Streamed`; what the client may read of it before it leaves, or the
provider breaks off, by the route's `Reading`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, get_args

from posthouse.core.requests import Operation
from posthouse.core.usage import NO_USAGE, Usage
from tests.e2e.answers import fault
from tests.e2e.ends import ENDS, WAIT_A_WHILE, End, Told
from tests.e2e.speakers import Report
from tests.e2e.upstream import Gate, Script, Visit
from tests.e2e.wire import payloads

# Of two reports, the first is the one before.
REPORTS: Final[dict[Told, list[Report]]] = {
    "given": [Report(11, 7)],
    "absent": [],
    "zero": [Report(0, 0)],
    "twice": [Report(1_000, 1_000), Report(11, 7)],
    "absurd": [Report(-11, 10**30)],
    "negative": [Report(-11, 7)],
    "beyond": [Report(100_000_001, 7)],
    "vast": [Report(10**30, 7)],
    "text": [Report("11", "7")],
    "float": [Report(11.5, 7)],
    "null": [Report(None, None)],
    "output": [Report(11, -7)],
    "cached": [Report(11, 7, "cached")],
    "reasoning": [Report(11, 7, "reasoning")],
    "total": [Report(11, 7, "total")],
}
SPARSE: Final[tuple[Told, ...]] = ("given", "absent", "absurd")
# Where no details are told, nor what was written.
COUNTED: Final[tuple[Told, ...]] = ("negative", "beyond", "vast", "text", "float", "null", "total")


def sensible(told: Told) -> Report | None:
    """The report that is charged by: docs/billing.md, COUNT-2. None where there is none."""
    report = REPORTS[told][-1] if REPORTS[told] else None
    if report is None or not all(type(count) is int and 0 <= count <= 100_000_000 for count in report[:2]):
        return None
    return report


# --- prices -----------------------------------------------------------------------------------------------------------
Sold = Literal["tokens", "units", "time"]
SOLD: Final[tuple[Sold, ...]] = get_args(Sold)
PRICES: Final[dict[Sold, str]] = {
    "tokens": 'input = "1.00"\noutput = "10.00"\n',
    "units": 'image = "0.04"\ncharacter = "15.00"\nsearch = "0.002"\n',
    "time": 'audio_second = "0.002"\n',
}


def cost(usage: Usage, sold: Sold) -> int:
    """Nano-units, by the prices above."""
    match sold:
        case "tokens":
            return usage.total_input * 1_000 + usage.total_output * 10_000
        case "units":
            return usage.images * 40_000_000 + usage.characters * 15_000 + usage.searches * 2_000_000
        case "time":
            return usage.audio_ms * 2_000


def covered(usage: Usage, sold: Sold) -> bool:
    """Whether the price measures what was told: zero of everything is free by any price."""
    if usage == NO_USAGE:
        return True
    match sold:
        case "tokens":
            return bool(usage.total_output if usage.images else usage.total)
        case "units":
            return bool(usage.images or usage.characters or usage.searches)
        case "time":
            return bool(usage.audio_ms)


# --- answers ----------------------------------------------------------------------------------------------------------
_OVER: Final = (b"",)
_LATER: Final = ("leaves mid", "leaves late", "leaves drained", "resets")


class Layout(NamedTuple):
    """The bytes of an answer that ends in a certain way: before the gate, and after it. `broken` is how the connection
    ends where the answer does not."""

    before: Sequence[bytes]
    after: Sequence[bytes] = ()
    broken: Literal["", "closed", "reset"] = ""


class Whole(NamedTuple):
    """An answer in one piece. `refusal` is what a provider says that has failed, under its status."""

    body: bytes
    content_type: str = "application/json"
    refusal: tuple[int, dict[str, Any]] = (500, fault("The tank is empty."))

    def until(self, end: End) -> bytes:
        """What has come before the gate."""
        if end in ("leaves mid", "leaves drained"):
            return self.body[: len(self.body) // 2]
        return self.body[:-1] if end in _LATER else self.body if end == "ends" else b""

    def layout(self, end: End) -> Layout:
        lines = f"HTTP/1.1 200 OK\r\ncontent-type: {self.content_type}\r\ncontent-length: {len(self.body)}\r\n\r\n"
        if end == "leaves early":
            return Layout([])
        return Layout([lines.encode() + self.until(end)], broken="reset" if end == "resets" else "")


class Streamed(NamedTuple):
    """An answer in pieces: `begins` with the first content, `ends` but for what nobody can leave before (`last`).
    `midway` comes before an answer breaks off in the middle, or is left there; `fault` is how a provider says that it
    has failed, None where it just breaks off."""

    begins: Sequence[bytes]
    ends: Sequence[bytes]
    last: Sequence[bytes] = ()
    midway: Sequence[bytes] = ()
    fault: bytes | None = None
    content_type: str = "text/event-stream"

    def until(self, end: End) -> bytes:
        """What has come before the gate."""
        match end:
            case "leaves mid" | "errors" | "resets":
                return b"".join([*self.begins, *self.midway])
            case "leaves drained":
                return b"".join(self.begins)
            case "leaves late":
                return b"".join([*self.begins, *self.ends])
            case "ends":
                return b"".join([*self.begins, *self.ends, *self.last])
            case _:
                return b""

    def layout(self, end: End) -> Layout:
        lines = f"HTTP/1.1 200 OK\r\ncontent-type: {self.content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        if end == "leaves early":
            return Layout([])
        before: list[Sequence[bytes]] = [self.begins]
        after: list[Sequence[bytes]] = []
        broken: Literal["", "closed", "reset"] = ""
        match end:
            case "leaves mid" | "errors" | "resets":
                before.append(self.midway)
                if end == "errors" and self.fault is not None:
                    after = [[self.fault], _OVER]
                else:
                    broken = "closed" if end == "errors" else "reset"
            case "leaves late":
                before.append(self.ends)
            case "leaves drained":
                after = [self.ends, self.last, _OVER]
            case _:
                before += [self.ends, self.last, _OVER]
        return Layout([lines.encode(), *_framed(before)], _framed(after), broken)


def _framed(parts: Sequence[Sequence[bytes]]) -> list[bytes]:
    """As chunks; `_OVER` is the end of the body, anything else that is empty is nothing."""
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for part in parts for piece in part if piece or part is _OVER]


def script(answer: Whole | Streamed, end: End, gate: Gate) -> Script:
    """A provider that gives this answer so far as the end of the call lets it."""
    layout = answer.layout(end)

    async def run(visit: Visit) -> None:
        if end == "leaves pause":
            await visit.whole(fault("Not so fast."), 429, WAIT_A_WHILE)
            return
        if end == "errors" and isinstance(answer, Whole):
            status, body = answer.refusal
            await visit.whole(body, status)
            return
        for piece in layout.before:
            await visit.send(piece)
        if end != "ends":
            await gate.passed(visit)
        for piece in layout.after:
            await visit.send(piece)
        if layout.broken == "reset":
            visit.reset()
        elif layout.broken:
            visit.close()

    return run


# --- routes -----------------------------------------------------------------------------------------------------------
class Reading(Protocol):
    """How a client reads what comes in pieces."""

    def content(self, came: bytes) -> str:
        """What is in all that has come."""

    def wanted(self, answer: Whole | Streamed, end: End) -> str:
        """The content of what comes before the gate."""

    def ending(self, came: bytes) -> str:
        """`finished`, `failed`, or nothing where it says neither."""


class Bytes(NamedTuple):
    """A client that takes what comes as it is. Of bare bytes the house keeps the last ones until the end."""

    kept: int = 0

    def content(self, came: bytes) -> str:
        return came.decode("latin-1")

    def wanted(self, answer: Whole | Streamed, end: End) -> str:
        text = self.content(answer.until(end))
        return text[: len(text) - self.kept]

    def ending(self, came: bytes) -> str:
        events = [event for event in payloads(came) if isinstance(event, dict)]
        return "failed" if events and events[-1].get("error", {}).get("message") else "finished"


class Billable(NamedTuple):
    """One way to ask on one route, and how a provider answers.

    account    who answers; its `[[providers]]` table has these further lines
    ask        the request as it is sent, to an account (where the path names it), for a model
    reported   what the provider says that was consumed, None where it says nothing
    counted    what the house counts where nothing was told, or what was told has no price
    sold       by which measures, and what may be told of usage with each
    heard      the ends at which what is told of usage was heard
    free       the ends at which nothing is charged
    lacks      the ends that the route cannot have, and why
    held       what the hold is made for, where that is the same for every model
    odd        the ways to be absurd that may be told where an answer ends well
    as_is      a good answer reaches the client byte for byte, as the body of the request reached the provider
    passes     so does whatever else the provider says, as it comes
    """

    name: str
    operation: Operation
    account: tuple[str, str]
    ask: Callable[[str, str], bytes]
    answer: Callable[[Told], Whole | Streamed]
    reported: Callable[[Told], Usage | None]
    counted: Callable[["Case"], Usage]
    sold: Mapping[Sold, Sequence[Told]]
    heard: frozenset[End]
    free: frozenset[End]
    lacks: Mapping[End, str] = {}
    reading: Reading = Bytes()
    held: Usage | None = None
    odd: Sequence[Told] = ()
    as_is: bool = False
    passes: bool = False

    @property
    def path(self) -> str:
        return self.ask("account", "model").split(b" ")[1].decode().partition("?")[0]

    @property
    def streamed(self) -> bool:
        return isinstance(self.answer("given"), Streamed)


class Case(NamedTuple):
    route: Billable
    sold: Sold
    told: Told
    end: End

    @property
    def id(self) -> str:
        return "-".join((self.route.name, self.sold, self.told, self.end)).replace(" ", "_")

    @property
    def account(self) -> str:
        name = self.route.account[0]
        return f"drained-{name}" if self.end == "leaves drained" else name

    @property
    def model(self) -> str:
        if self.end == "leaves pause":
            # Each pause needs a deployment of its own: one that asked for a pause is left alone until it is over.
            return "pause-" + self.id.replace("_", "-").replace("/", "-")
        return f"m-{self.account}-{self.sold}"

    def charge(self) -> tuple[Usage, str] | None:
        """What is charged, and who counted it; None where nothing is."""
        route = self.route
        if self.end in route.free:
            return None
        usage = route.reported(self.told) if self.end in route.heard else None
        if usage is not None and covered(usage, self.sold):
            return usage, "provider"
        return route.counted(self), "estimated"

    @property
    def ended_by(self) -> str:
        if self.end.startswith("leaves"):
            return "client"
        if self.route.passes and self.route.streamed and self.end == "errors":
            return "complete"  # what the provider says in good order passes as it is
        return "complete" if self.end == "ends" else "upstream"


def cases_of(route: Billable) -> list[Case]:
    odd = [Case(route, "tokens", told, "ends") for told in route.odd]
    return odd + [
        Case(route, sold, told, end)
        for sold, tolds in route.sold.items()
        for told in tolds
        for end in ENDS
        if end not in route.lacks
    ]


# What a whole answer of a model route costs where nothing of it has come to the client.
WHOLE_HEARD: Final[frozenset[End]] = frozenset(("ends",))
WHOLE_FREE: Final[frozenset[End]] = frozenset(("leaves pause", "errors", "resets"))
# A stream that has begun costs something, however it ends.
STREAM_FREE: Final[frozenset[End]] = frozenset(("leaves pause",))
