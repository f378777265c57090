"""Why a request went where it went: every candidate of its plan, in a form that is small enough for its record.

Made where there was something to decide, which is to say never for the one healthy deployment of a model. It holds what
cannot be known later: what was drawn, what cooled, what had been measured. What can (the price, the attempts) is put to
it by who explains (gateway/explain.py). In the record it is JSON in arrays, about 60 bytes a candidate; a newer version
adds members at the end, with defaults.

Above: plan.py, which fills it in, and the gateway. Below: core.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, Protocol

import msgspec
from msgspec import Struct

from posthouse.core.errors import FailureKind
from posthouse.core.money import Money

MOST: Final = 16  # candidates of one record; the rest are counted

TroubleState = Literal["failing", "cooling", "waiting", "probing"]
# Why a candidate was not in the plan at all.
PassedOver = Literal[
    "lacks_operation",
    "limited",
    "model_unpriced",
    "currency_mismatch",
    "unsupported_parameter",
    "own_not_allowed",
    "own_unsupported",
    "own_elsewhere",
]


class Suffers(Struct, frozen=True, array_like=True, gc=False):
    """Trouble at the moment of the plan: of which kind, and for how many seconds it still cooled."""

    state: TroubleState
    kind: FailureKind
    seconds: float


class Considered(Struct, array_like=True):
    """One candidate. `figure` is what the strategy went by: the weighted draw, the larger the earlier (`priority`,
    `weighted`), or the score in seconds, the smaller the earlier (`latency`). `cost` in nano-units of `currency` is
    what the request was expected to cost (`cheapest`)."""

    deployment: str
    credential: int
    rank: tuple[int, int]
    weight: float
    after: FailureKind | None = None
    figure: float | None = None
    suffers: Suffers | None = None
    passed_over: PassedOver | None = None
    cost: int | None = None
    currency: str | None = None


class Told(Struct, array_like=True):
    """A decision as it stands in a record: candidates in the order of the plan, those that were not in it behind.

    `left_out` were more than MOST. `answered_by` is the number of the credential that answered, `answered_at` when its
    attempt began, in milliseconds since the beginning of the request; None where nobody answered.
    """

    strategy: str
    candidates: list[Considered]
    left_out: int = 0
    answered_by: int | None = None
    answered_at: int | None = None


class Named(Protocol):
    """As much of a candidate as is noted of it."""

    @property
    def key(self) -> tuple[str, int]: ...
    @property
    def after(self) -> FailureKind | None: ...
    @property
    def rank(self) -> tuple[int, int]: ...
    @property
    def weight(self) -> float: ...


_Key = tuple[tuple[str, int], FailureKind | None]
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Told).decode


class Decision:
    """A decision while it is made."""

    __slots__ = ("_left_out", "_noted", "_strategy", "answered_at", "answered_by")

    def __init__(self, strategy: str) -> None:
        self._strategy = strategy
        self._noted: dict[_Key, Considered] = {}
        self._left_out = 0
        self.answered_by: int | None = None
        self.answered_at: int | None = None

    def note(self, candidate: Named, figure: float | None, suffers: Suffers | None) -> None:
        """The next candidate of the plan."""
        if len(self._noted) >= MOST:
            self._left_out += 1
            return
        deployment, credential = candidate.key
        rounded = None if figure is None else round(figure, 4)
        self._noted[candidate.key, candidate.after] = Considered(
            deployment, credential, candidate.rank, candidate.weight, candidate.after, rounded, suffers
        )

    def pass_over(self, candidates: Iterable[Named], why: PassedOver) -> None:
        for candidate in candidates:
            noted = self._noted.get((candidate.key, candidate.after))
            if noted is not None:
                noted.passed_over = why

    def costs(self, plan: Sequence[Named], costs: Sequence[Money | None]) -> None:
        """What each candidate of a plan was expected to cost, None where no price was known."""
        for candidate, cost in zip(plan, costs, strict=True):
            noted = self._noted.get((candidate.key, candidate.after))
            if noted is not None and cost is not None:
                noted.cost, noted.currency = cost.nano, cost.currency

    def order(self, plan: Iterable[Named]) -> None:
        """The plan has come into another order."""
        noted = self._noted
        keys = [(candidate.key, candidate.after) for candidate in plan]
        self._noted = {key: noted[key] for key in keys if key in noted} | noted

    def encoded(self) -> str:
        """As `read` takes it. What was passed over goes last."""
        ordered = sorted(self._noted.values(), key=lambda one: one.passed_over is not None)
        told = Told(self._strategy, ordered, self._left_out, self.answered_by, self.answered_at)
        return _encode(told).decode()


def read(text: str) -> Told | None:
    """A decision of a record; None where it cannot be read, as one of a newer version."""
    try:
        return _decode(text)
    except msgspec.MsgspecError:
        return None
