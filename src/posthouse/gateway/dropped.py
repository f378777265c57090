"""What a translated request cannot say to its provider: told in a header, or refused where the caller is strict."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import ModelRequest
from posthouse.providers.carriage import dropped_by
from posthouse.routing.model import Candidate, can_serve

_MOST_NAMES: Final = 32
_MOST_CHARACTERS: Final = 64


def dropped_line(names: Sequence[str]) -> bytes:
    """The header line. Names may be the client's own: what no header may hold is percent-encoded."""
    shown = [quote(name[:_MOST_CHARACTERS], safe="[]()$@:") for name in names[:_MOST_NAMES]]
    if len(names) > _MOST_NAMES:
        shown.append("...")
    return b"x-posthouse-dropped: %b\r\n" % ",".join(shown).encode("ascii")


def strictly(plan: Sequence[Candidate], request: ModelRequest) -> Sequence[Candidate]:
    """Those of a plan that can be told all of a request. InvalidRequest names what the first cannot be told, where none
    can."""
    kept: list[Candidate] = []
    lost: Sequence[str] = ()
    for candidate in plan:
        dropped = dropped_by(candidate.prepared[request.operation], request)
        if not dropped:
            kept.append(candidate)
        lost = lost or dropped
    if can_serve(kept):
        return kept
    name = lost[0][:200]
    raise InvalidRequest(
        f"'{name}' cannot be passed on to the provider of this model, and the request is strict.",
        param=name,
        code="unsupported_parameter",
    )
