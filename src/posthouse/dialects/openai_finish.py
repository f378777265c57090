"""Why an answer ended, in the words of whoever speaks this family of dialects, to and from ours.

Servers that call themselves compatible pass on their engine's own words; whoever acts on the reason (an agent that runs
tools, a client that asks for more) must find the usual ones.
"""

from collections.abc import Mapping
from typing import Any, Final

STOP: Final = "stop"
CALLS: Final = "tool_calls"

_MEANT: Final[Mapping[str, str]] = {
    STOP: STOP,
    CALLS: CALLS,
    "length": "length",
    "content_filter": "content_filter",
    "content-filter": "content_filter",
    "tool-calls": CALLS,
    "function_call": CALLS,
    "tool_call": CALLS,
    "tool_use": CALLS,
    "completed": STOP,
    "end_turn": STOP,
    "eos": STOP,
    "eos_token": STOP,
    "stop_sequence": STOP,
    "length_limit": "length",
    "max_length": "length",
    "max_new_tokens": "length",
    "max_output_tokens": "length",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "model_length": "length",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
}
# The engine broke: no end of an answer.
BROKEN: Final = frozenset({"error", "network_error", "abort", "insufficient_system_resource"})


def meant(reason: Any, called: bool = False) -> str | None:
    """The inner reason, None where nothing is said. `called`: the answer calls tools, which some call a `stop`."""
    if not isinstance(reason, str) or not reason:
        return None
    inner = _MEANT.get(reason.lower(), reason)
    return CALLS if called and inner == STOP else inner


def written(reason: str | None, known: frozenset[str]) -> str:
    """The reason in a dialect that has only these; one that it does not have becomes a stop, which clients expect."""
    return reason if reason in known else STOP
