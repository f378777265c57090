"""Health of deployments, told by live traffic alone, per (deployment, operation).

    kind                        cools                        for
    rate                        at once                      the provider's Retry-After, else `cooldown`
    auth, quota, not_found      at once                      60 s: it will not pass by itself, but an operator mends it
    server, timeout, connect,   `failures_to_cool` in a row  `cooldown`
    overloaded
    the rest                    never: the caller's own fault

Where an account has several credentials, the first two lines hold for the one that was used, and the third for the
deployment with all of them.

What cools is tried last, not never: where it is the only one, a request still reaches it (pains 17), except while a
provider's own Retry-After runs. When the time is over, one request probes it; until that has been answered, it is tried
last by all others. A success ends the trouble. A failure lets it cool again, twice as long as before, up to
`cooldown_max`; but only one that began after the cool-down: what was under way before tells nothing new.
"""

from typing import Final, NamedTuple

from msgspec import Struct

from posthouse.core.errors import FailureKind, UpstreamFailure
from posthouse.core.requests import Operation
from posthouse.routing.decision import Suffers, TroubleState
from posthouse.routing.model import Candidate, RoutingOptions

_OPERATOR_SECONDS: Final = 60.0
_MOST_DOUBLINGS: Final = 16
# What one credential suffers, and what a deployment does whoever asks.
OF_CREDENTIAL: Final[frozenset[FailureKind]] = frozenset({"auth", "quota", "not_found", "rate"})
OF_DEPLOYMENT: Final[frozenset[FailureKind]] = frozenset({"server", "timeout", "connect", "overloaded"})


class Place(NamedTuple):
    """`credential` is 0 for what holds for all of them, else its number."""

    deployment: str
    operation: Operation
    credential: int = 0


class Trouble(Struct, frozen=True):
    """What is wrong with one place since it last answered.

    `state`: `failing`, but not cooling yet; `cooling` for `seconds` more; `waiting` for the request that will probe it;
    `probing` now. `failures` in a row, the last of them of this `kind`.
    """

    kind: FailureKind
    failures: int
    seconds: float
    state: TroubleState


class _State:
    """`rounds` counts cool-downs in a row. Times are the loop's, seconds."""

    __slots__ = ("failures", "kind", "limited_until", "probing", "rounds", "until")

    def __init__(self, kind: FailureKind) -> None:
        self.kind = kind
        self.failures = 0
        self.rounds = 0
        self.until = 0.0
        self.limited_until = 0.0
        self.probing = False

    def told(self, now: float) -> TroubleState:
        if self.until > now:
            return "cooling"
        return "probing" if self.probing else "waiting" if self.rounds else "failing"


class Probe:
    """The request that finds out whether a cool-down has helped."""

    __slots__ = ("_states",)

    def __init__(self, states: list[_State]) -> None:
        self._states = states
        for state in states:
            state.probing = True

    def end(self) -> None:
        """Before its outcome is told, if it has one: a caller who leaves tells nothing."""
        for state in self._states:
            state.probing = False


class Health:
    """Bounded by the number of deployments: only those that failed lately have a state. Times are the loop's,
    seconds."""

    def __init__(self, options: RoutingOptions) -> None:
        self.options = options
        self._states: dict[Place, _State] = {}

    @property
    def all_well(self) -> bool:
        return not self._states

    # Attempts tell

    def begins(self, candidate: Candidate, operation: Operation, now: float) -> "Probe | None":
        """An attempt begins now: the probe that it is, which must be ended however the attempt ends, or None."""
        claimed = [
            state
            for state in self._of(candidate, operation)
            if state.rounds and state.until <= now and not state.probing
        ]
        return Probe(claimed) if claimed else None

    def succeeded(self, candidate: Candidate, operation: Operation, now: float) -> None:
        """An answer that was under way when the provider asked to be left alone does not take that wish back."""
        if not self._states:
            return
        for place in _places(candidate, operation):
            state = self._states.get(place)
            if state is not None and state.limited_until <= now:
                del self._states[place]

    def failed(
        self, candidate: Candidate, operation: Operation, failure: UpstreamFailure, began: float, now: float
    ) -> None:
        """`began` is when the attempt did."""
        kind = failure.kind
        if kind not in OF_DEPLOYMENT:
            self._does_answer(Place(candidate.deployment.id, operation), kind)
            if kind not in OF_CREDENTIAL:
                return
        place = Place(candidate.deployment.id, operation, candidate.credential if kind in OF_CREDENTIAL else 0)
        state = self._states.get(place)
        if state is None:
            state = self._states[place] = _State(kind)
        state.kind = kind
        state.failures += 1
        if kind == "rate" and failure.retry_after is not None:
            state.limited_until = max(state.limited_until, now + failure.retry_after)
            state.until = max(state.until, state.limited_until)
            state.rounds = max(state.rounds, 1)
        elif began >= state.until and (kind in OF_CREDENTIAL or state.rounds or state.failures >= self._enough):
            state.until = now + self._seconds(kind, state.rounds)
            state.rounds += 1

    # Plans ask

    def cooling(self, candidate: Candidate, operation: Operation, now: float) -> bool:
        """Whether others should be tried before it."""
        if not self._states:
            return False
        return any(state.until > now or state.probing for state in self._of(candidate, operation))

    def limited_for(self, candidate: Candidate, operation: Operation, now: float) -> float:
        """Seconds for which the provider asked to be left alone; 0 where it did not."""
        return max([0.0, *(state.limited_until - now for state in self._of(candidate, operation))])

    def suffers(self, candidate: Candidate, operation: Operation, now: float) -> Suffers | None:
        """What would make others go before it, the longest first."""
        states = self._of(candidate, operation)
        if not states:
            return None
        worst = max(states, key=lambda state: state.until)
        return Suffers(worst.told(now), worst.kind, round(max(0.0, worst.until - now), 1))

    # Operators look

    def report(self, now: float) -> dict[Place, Trouble]:
        """All that failed since they last answered."""
        return {
            place: Trouble(state.kind, state.failures, max(0.0, state.until - now), state.told(now))
            for place, state in self._states.items()
        }

    def forget(self, known: frozenset[str]) -> None:
        """Drops the state of deployments that are no more."""
        for place in [place for place in self._states if place.deployment not in known]:
            del self._states[place]

    # Inside

    def _of(self, candidate: Candidate, operation: Operation) -> list[_State]:
        if not self._states:
            return []
        found = [self._states.get(place) for place in _places(candidate, operation)]
        return [state for state in found if state is not None]

    def _does_answer(self, place: Place, kind: FailureKind) -> None:
        """A refusal shows that the deployment works, as far as the caller or the credential may be to blame for it."""
        state = self._states.get(place)
        if state is not None and state.kind in OF_DEPLOYMENT:
            del self._states[place]

    @property
    def _enough(self) -> int:
        return self.options.failures_to_cool

    def _seconds(self, kind: FailureKind, rounds: int) -> float:
        """How long to cool after so many cool-downs in a row."""
        options = self.options
        base = options.cooldown if kind in OF_DEPLOYMENT or kind == "rate" else _OPERATOR_SECONDS
        doubled: float = base * 2.0 ** min(rounds, _MOST_DOUBLINGS)
        return min(doubled, max(base, options.cooldown_max))


def _places(candidate: Candidate, operation: Operation) -> tuple[Place, ...]:
    """Where trouble of a candidate may be noted."""
    shared = Place(candidate.deployment.id, operation)
    return (shared,) if not candidate.credential else (shared, shared._replace(credential=candidate.credential))
