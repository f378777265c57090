"""Events: an answer as it comes, one closed union for every dialect.

    Started  (TextDelta | RefusalDelta | ReasoningDelta | ReasoningState | ToolCallStarted ToolCallDelta* | AudioDelta)*
    Finished  UsageReported?                                              or, at any point, Failed and nothing more

`choice` counts the answers from 0; `call` counts the tool calls of one choice from 0. UsageReported may come earlier
and more than once: its numbers are totals, and the last stands. A ReasoningState ends the run of ReasoningDeltas before
it; without such a run it belongs to what comes next.
"""

from msgspec import Struct

from posthouse.core.items import OpaqueState, ToolKind
from posthouse.core.usage import Usage


class Started(Struct, frozen=True, tag_field="event", tag="started"):
    """The model begins one choice. `role` is nearly always `assistant`."""

    choice: int = 0
    role: str = "assistant"


class TextDelta(Struct, frozen=True, tag_field="event", tag="text"):
    text: str
    choice: int = 0


class RefusalDelta(Struct, frozen=True, tag_field="event", tag="refusal"):
    text: str
    choice: int = 0


class ReasoningDelta(Struct, frozen=True, tag_field="event", tag="reasoning"):
    text: str
    choice: int = 0


class ReasoningState(Struct, frozen=True, tag_field="event", tag="reasoning_state"):
    """The opaque state of the thoughts before it (see `core.items.ReasoningItem`)."""

    state: OpaqueState
    choice: int = 0


class ToolCallStarted(Struct, frozen=True, tag_field="event", tag="tool_call"):
    call_id: str
    name: str
    kind: ToolKind = "function"
    call: int = 0
    choice: int = 0


class ToolCallDelta(Struct, frozen=True, tag_field="event", tag="arguments"):
    arguments: str
    kind: ToolKind = "function"
    call: int = 0
    choice: int = 0


class AudioDelta(Struct, frozen=True, tag_field="event", tag="audio"):
    """A piece of speech: base64 `data`, its `transcript`, or the `id` to refer to it by."""

    data: str = ""
    transcript: str = ""
    id: str | None = None
    choice: int = 0


class Finished(Struct, frozen=True, tag_field="event", tag="finished"):
    """One choice ended: stop, length, tool_calls, content_filter; others pass."""

    reason: str
    choice: int = 0


class UsageReported(Struct, frozen=True, tag_field="event", tag="usage"):
    usage: Usage


class Failed(Struct, frozen=True, tag_field="event", tag="failed"):
    """The answer broke off; `message` is safe to show."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


Event = (
    Started
    | TextDelta
    | RefusalDelta
    | ReasoningDelta
    | ReasoningState
    | ToolCallStarted
    | ToolCallDelta
    | AudioDelta
    | Finished
    | UsageReported
    | Failed
)
