"""Health of deployments, told by live traffic alone, per (deployment, operation).

    kind                        cools at                     for
    rate                        once                         the provider's Retry-After, else `cooldown`
    auth, quota, not_found      once                         60 s: it will not pass by itself, but an operator mends it
    server, timeout, connect,   `failures_to_cool` in a row  `cooldown`, doubled with each further failure,
    overloaded                                               up to `cooldown_max`
    the rest                    never: the caller's own fault

A deployment that cools is tried last, not never: where it is the only one, a request still reaches it (pains 17),
except while a provider's own Retry-After runs.
"""

from typing import Final

from posthouse.core.errors import FailureKind, UpstreamFailure
from posthouse.core.requests import Operation
from posthouse.routing.model import RoutingOptions

_OPERATOR_SECONDS: Final = 60.0
_AT_ONCE: Final[frozenset[FailureKind]] = frozenset({"auth", "quota", "not_found"})
_IN_A_ROW: Final[frozenset[FailureKind]] = frozenset({"server", "timeout", "connect", "overloaded"})


class _State:
    __slots__ = ("failures", "kind", "limited_until", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0
        self.limited_until = 0.0
        self.kind: FailureKind | None = None


class Health:
    """Bounded by the number of deployments: only those that failed lately have a state. Times are the loop's,
    seconds."""

    def __init__(self, options: RoutingOptions) -> None:
        self._options = options
        self._states: dict[tuple[str, Operation], _State] = {}

    @property
    def all_well(self) -> bool:
        return not self._states

    def succeeded(self, deployment: str, operation: Operation) -> None:
        if self._states:
            self._states.pop((deployment, operation), None)

    def failed(self, deployment: str, operation: Operation, failure: UpstreamFailure, now: float) -> None:
        kind = failure.kind
        if kind not in _AT_ONCE and kind not in _IN_A_ROW and kind != "rate":
            return
        options = self._options
        state = self._states.setdefault((deployment, operation), _State())
        state.kind = kind
        state.failures += 1
        if kind == "rate":
            wish = failure.retry_after
            state.until = now + (options.cooldown if wish is None else wish)
            if wish is not None:
                state.limited_until = max(state.limited_until, now + wish)
        elif kind in _AT_ONCE:
            state.until = now + _OPERATOR_SECONDS
        elif state.failures >= options.failures_to_cool:
            doubled = options.cooldown * 2.0 ** min(state.failures - options.failures_to_cool, 16)
            state.until = now + min(doubled, options.cooldown_max)

    def cooling(self, deployment: str, operation: Operation, now: float) -> bool:
        state = self._states.get((deployment, operation))
        return state is not None and state.until > now

    def limited_for(self, deployment: str, operation: Operation, now: float) -> float:
        """Seconds for which the provider asked to be left alone; 0 where it did not."""
        state = self._states.get((deployment, operation))
        return 0.0 if state is None else max(0.0, state.limited_until - now)

    def report(self, now: float) -> dict[tuple[str, Operation], tuple[FailureKind | None, int, float]]:
        """(kind of the last failure, failures in a row, seconds it still cools) of all that failed since they last
        answered."""
        return {key: (s.kind, s.failures, max(0.0, s.until - now)) for key, s in self._states.items()}

    def forget(self, known: frozenset[str]) -> None:
        """Drops the state of deployments that are no more."""
        for key in [key for key in self._states if key[0] not in known]:
            del self._states[key]
