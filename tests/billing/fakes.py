"""What the tests of billing share: callers, a clock, and a journal that is a list."""

from posthouse.billing.balances import Balances
from posthouse.billing.ledger import Hold, Ledger
from posthouse.billing.model import Price, Settlement, UnpricedPolicy, rates_of
from posthouse.core.caller import Budget, Caller, Limits, Subject
from posthouse.core.money import Money
from posthouse.core.usage import Usage
from posthouse.storage.rows import EndRow, HoldRow, JournalRow

NOW = 1_795_176_000.0  # 2026-11-20 12:00 UTC, a Friday
PRICE = Price("USD", "test", "m", rates_of({"input": 1_000_000, "output": 1_000_000}))  # a nano-unit a token


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class ListJournal:
    """Keeps what is appended; raises `failure` instead where one is set."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, JournalRow]] = []
        self.failure: Exception | None = None

    def append(self, kind: str, row: JournalRow) -> None:
        if self.failure is not None:
            raise self.failure
        self.rows.append((kind, row))

    def holds(self) -> list[HoldRow]:
        return [row for _, row in self.rows if isinstance(row, HoldRow)]

    def ends(self) -> list[EndRow]:
        return [row for _, row in self.rows if isinstance(row, EndRow)]


class House:
    """A ledger with everything around it."""

    def __init__(self, unpriced: UnpricedPolicy = "auto") -> None:
        self.clock = Clock()
        self.journal = ListJournal()
        self.balances = Balances()
        self.ledger = Ledger(self.journal, self.balances, self.clock, unpriced)
        self._next = 0

    def hold(self, caller: Caller, nano: int | None = 10, currency: str = "USD", least: int | None = None) -> Hold:
        self._next += 1
        reserve = None if nano is None else Money(nano, currency)
        return self.ledger.hold(caller, f"req_{self._next:06d}", "m", reserve, least)


def caller(key: Budget | None = None, account: Budget | None = None, name: str = "1") -> Caller:
    return Caller(
        key_id=f"key_{name}",
        key_name=f"key {name}",
        account_id="acc_1",
        subjects=(
            Subject(f"key_{name}", "key", f"key {name}", Limits(), (key,) if key else ()),
            Subject("acc_1", "account", "default", Limits(), (account,) if account else ()),
        ),
    )


def usd(nano: int, period: str = "total") -> Budget:
    return Budget(nano, "USD", period)  # type: ignore[arg-type]


def settlement(tokens: int, price: Price | None = PRICE, reason: str = "complete") -> Settlement:
    """A settlement that costs `tokens` nano-units at PRICE."""
    return Settlement(Usage(input=tokens), "provider", price, "main", reason)
