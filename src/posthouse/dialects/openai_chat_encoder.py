"""An answer on its way to a client of chat.completions, chunk by chunk.

`CHOICE` and `STREAM` say what may follow what: each maps a state to the kinds of chunks that are legal in it, and those
to the state after. A choice says its role first and its reason last; the whole ends with usage, where the client asked
for it, then [DONE]; or with an error at any point, and nothing more. What has no place in its state is left out.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from posthouse.core.errors import PosthouseError
from posthouse.core.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    ReasoningState,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.usage import Usage
from posthouse.dialects.codec import ReplyHead
from posthouse.dialects.openai_chat_answers import ID_PREFIX, REASONS
from posthouse.dialects.openai_chat_details import Runs, StatedRun, entries
from posthouse.dialects.openai_chat_events import ChunkHead, delta_of, encode_choice, encode_chunk
from posthouse.dialects.openai_chat_parts import Json
from posthouse.dialects.openai_errors import encode_error
from posthouse.dialects.openai_finish import written
from posthouse.dialects.openai_usage import usage_payload

ChoiceState = Literal["new", "open", "ended"]
StreamState = Literal["choices", "counted", "over"]
CHOICE: Final[Mapping[ChoiceState, Mapping[str, ChoiceState]]] = {
    "new": {"role": "open"},
    "open": {"delta": "open", "finish": "ended"},
    "ended": {},
}
STREAM: Final[Mapping[StreamState, Mapping[str, StreamState]]] = {
    "choices": {"choice": "choices", "usage": "counted", "done": "over", "error": "over"},
    "counted": {"done": "over", "error": "over"},
    "over": {},
}
ROLES: Final = frozenset({"developer", "system", "user", "assistant", "tool"})
_DONE: Final = b"data: [DONE]\n\n"
_encode: Final = msgspec.json.Encoder().encode


class _Choice:
    """`calm` is set while nothing but text comes: what stands before and behind each piece."""

    __slots__ = ("calls", "calm", "details", "runs", "state")

    def __init__(self) -> None:
        self.state: ChoiceState = "new"
        self.calm: tuple[bytes, bytes] | None = None
        self.runs = Runs()
        self.details = 0  # entries of reasoning_details so far
        self.calls: set[int] = set()


class ChatEncoder:
    """codec.StreamEncoder."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = ChunkHead(ID_PREFIX + head.id, head.model, head.created)
        self._include_usage = head.include_usage
        # Where usage was asked for, every chunk before it says that it has none.
        self._more: Json = {"usage": None} if head.include_usage else {}
        self._state: StreamState = "choices"
        self._choices: dict[int, _Choice] = {}

    def encode(self, event: Event) -> bytes:
        if type(event) is TextDelta:  # nearly every event: 2 us instead of 12
            known = self._choices.get(event.choice)
            if known is not None and known.calm is not None and self._state == "choices":
                before, behind = known.calm
                return b"%b%b%b" % (before, _encode(event.text), behind)
        return self._anything(event)

    def _anything(self, event: Event) -> bytes:
        if isinstance(event, UsageReported | Failed) or self._state != "choices":
            return b""
        choice = self._choice(event.choice, type(event) is TextDelta)
        if choice.state == "ended":
            return b""
        chunks: list[bytes] = []
        if choice.state == "new":
            role = event.role if isinstance(event, Started) and event.role in ROLES else "assistant"
            self._chunk(chunks, "role", Started(event.choice, role))
        match event:
            case Started():
                pass
            case ReasoningState(state=state):
                choice.runs.close(state)  # said when it is known what it stands before
            case ReasoningDelta(text=text):
                if choice.runs.pending:
                    self._settle(chunks, choice, event.choice, None)
                choice.runs.think(text)
                self._chunk(chunks, "delta", event)
            case Finished():
                self._settle(chunks, choice, event.choice, None)
                self._chunk(chunks, "finish", event)
            case ToolCallDelta(call=call) if call not in choice.calls:
                pass  # belongs to nothing
            case ToolCallStarted(call=call) if call in choice.calls:
                pass
            case _:
                call_id = event.call_id if isinstance(event, ToolCallStarted) else None
                if isinstance(event, ToolCallStarted):
                    choice.calls.add(event.call)
                self._settle(chunks, choice, event.choice, call_id)
                self._chunk(chunks, "delta", event)
        return b"".join(chunks)

    def _choice(self, index: int, calm: bool) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        choice.calm = self._around(index) if calm and choice.state != "ended" else None
        return choice

    def close(self, usage: Usage) -> bytes:
        if self._state == "over":
            return b""
        chunks: list[bytes] = []
        for index, choice in self._choices.items():
            self._settle(chunks, choice, index, None)
        if self._include_usage and "usage" in STREAM[self._state]:
            self._state = STREAM[self._state]["usage"]
            chunks.append(_event(encode_chunk(self._head, [], {"usage": usage_payload(usage)})))
        self._state = STREAM[self._state]["done"]
        return b"".join((*chunks, _DONE))

    def fail(self, error: PosthouseError) -> bytes:
        if self._state == "over":
            return b""
        self._state = STREAM[self._state]["error"]
        return _event(encode_error(error))

    def _settle(self, chunks: list[bytes], choice: _Choice, index: int, call_id: str | None) -> None:
        runs = choice.runs.settle(call_id)
        if runs:
            self._state_chunk(chunks, choice, index, runs)

    def _state_chunk(self, chunks: list[bytes], choice: _Choice, index: int, runs: list[StatedRun]) -> None:
        made = entries(runs, choice.details)
        choice.details = made[-1]["index"] + 1
        chunks.append(self._said(index, {"reasoning_details": made}, None))

    def _chunk(self, chunks: list[bytes], kind: Literal["role", "delta", "finish"], event: Event) -> None:
        """A chunk of this kind, where it is legal."""
        assert not isinstance(event, UsageReported | Failed)
        choice = self._choices[event.choice]
        after = CHOICE[choice.state].get(kind)
        if after is None:
            return
        choice.state = after
        finish = written(event.reason, REASONS) if isinstance(event, Finished) else None
        chunks.append(self._said(event.choice, delta_of(event), finish))

    def _around(self, index: int) -> tuple[bytes, bytes]:
        before, _, behind = self._said(index, {"content": ""}, None).partition(b'"content":""')
        return before + b'"content":', behind

    def _said(self, index: int, delta: Json, finish: str | None) -> bytes:
        return _event(encode_chunk(self._head, [encode_choice(index, delta, finish)], self._more))


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"
