"""Items: the inner form of a conversation with a model, and of one request and answer.

A flat list, as in the Responses API: chat.completions has no place for reasoning between tool calls, nor for opaque
state. JSON that we only carry (schemas, arguments, opaque state) stays bytes or text, so that it comes out as it went
in.
"""

from typing import Literal

from msgspec import Raw, Struct

from posthouse.core.parts import Parts
from posthouse.core.usage import Usage

ToolKind = Literal["function", "custom"]


class OpaqueState(Struct, frozen=True):
    """State that only the model that made it can read: sent back byte for byte to the same three, dropped elsewhere."""

    provider: str
    model: str
    account: str
    payload: bytes


class MessageItem(Struct, frozen=True, tag="message"):
    """`role`: system, developer, user, assistant; others pass. `name` tells speakers of one role apart."""

    role: str
    parts: Parts
    name: str | None = None


class ToolCallItem(Struct, frozen=True, tag="tool_call"):
    """`arguments` is what the model wrote: JSON for a function (perhaps broken), free text for a custom tool."""

    call_id: str
    name: str
    arguments: str
    kind: ToolKind = "function"


class ToolResultItem(Struct, frozen=True, tag="tool_result"):
    """`failed`: the tool could not do it, and the parts say why."""

    call_id: str
    parts: Parts
    failed: bool = False


class ReasoningItem(Struct, frozen=True, tag="reasoning"):
    """What the model thought, as far as it shows it, and the state that lets it go on thinking.

    A dialect that keeps such state on something else (a signature on a call or on a text) gives an item without text
    that stands directly before it.
    """

    text: str = ""
    state: OpaqueState | None = None


class CompactionItem(Struct, frozen=True, tag="compaction"):
    """The conversation before this point, in a form that only its maker can read."""

    state: OpaqueState


Item = MessageItem | ToolCallItem | ToolResultItem | ReasoningItem | CompactionItem
Items = tuple[Item, ...]


class Tool(Struct, frozen=True, tag="tool"):
    """`schema`: JSON schema of a function's parameters; `format`: grammar of a custom tool, as the Responses API writes
    it (`{"type": "grammar", "syntax": ..., "definition": ...}`). Both as JSON bytes."""

    name: str
    kind: ToolKind = "function"
    description: str | None = None
    schema: bytes | None = None
    format: bytes | None = None
    strict: bool | None = None


class OpaqueTool(Struct, frozen=True, tag="opaque"):
    """A tool that only one dialect knows: its JSON, byte for byte."""

    dialect: str
    payload: bytes


class ToolChoice(Struct, frozen=True):
    """`mode` `named` demands the tool of that `name` and `kind`."""

    mode: Literal["none", "auto", "required", "named"]
    name: str | None = None
    kind: ToolKind = "function"


class OutputFormat(Struct, frozen=True):
    """`schema` (JSON bytes), `name`, `description` and `strict` belong to `json_schema`."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: bytes | None = None
    strict: bool | None = None


class Sampling(Struct, frozen=True):
    """None is the model's default. `max_output` in tokens per choice."""

    max_output: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    choices: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class Thinking(Struct, frozen=True):
    """How much to think: an `effort` (none, minimal, low, medium, high, xhigh, max; others pass) or a `budget` in
    tokens (0: not at all), and whether the thoughts are to be `shown`. None: as the model likes."""

    effort: str | None = None
    budget: int | None = None
    shown: bool | None = None


class InnerRequest(Struct, frozen=True):
    """A whole request for a model. `extra`: top-level members that only `dialect` knows, as they came. `user` is the
    caller's own name for whoever asks. `echo`: the answer is to repeat the prompt before its own words; the client's
    codec does so, no provider is told."""

    dialect: str
    model: str
    items: Items
    tools: tuple[Tool | OpaqueTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    output_format: OutputFormat | None = None
    thinking: Thinking = Thinking()
    verbosity: str | None = None
    user: str | None = None
    sampling: Sampling = Sampling()
    stream: bool = False
    include_usage: bool = False
    extra: dict[str, Raw] = {}
    echo: bool = False


class Choice(Struct, frozen=True):
    """One of the answers. `finish`: stop, length, tool_calls, content_filter; others pass; None: it did not end."""

    items: Items
    finish: str | None = None


class InnerResponse(Struct, frozen=True):
    """A whole answer; `created` in seconds since the epoch."""

    id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage | None = None
