"""The events of a Responses stream that the encoder writes, as tables: what follows what, and what each is made of.

A stream holds items (counted by `output_index`), and an item of the kinds `message` and `reasoning` holds parts
(counted by `content_index` or `summary_index`). Sound stands beside the items. Each goes through states of its own:

    absent -> open -> said -> closed            a stream that fails: -> broken -> closed

A row says from which states an event may come and to which it leads. Beyond the rows: events are numbered from 0; items
and parts are counted from 0 without gaps; an item has one open part at most and closes when none is open; a stream ends
well when nothing in it is open.
"""

from typing import Final, Literal

from msgspec import Struct

Scope = Literal["stream", "sound", "item", "part"]


class Step(Struct, frozen=True):
    """`kinds`: of which items or parts it may tell; empty: of any. There are two sounds: audio and its transcript."""

    scope: Scope
    before: tuple[str, ...]
    after: str
    kinds: tuple[str, ...] = ()


_BEGUN: Final = ("open",)

LEGALITY: Final[dict[str, Step]] = {
    "response.created": Step("stream", ("absent",), "open"),
    "response.in_progress": Step("stream", _BEGUN, "open"),
    "response.audio.delta": Step("sound", ("absent", "open"), "open"),
    "response.audio.done": Step("sound", _BEGUN, "closed"),
    "response.audio.transcript.delta": Step("sound", ("absent", "open"), "open"),
    "response.audio.transcript.done": Step("sound", _BEGUN, "closed"),
    "response.completed": Step("stream", _BEGUN, "closed"),
    "response.incomplete": Step("stream", _BEGUN, "closed"),
    # A stream that passes may break, and what ends it then knows nothing of its beginning.
    "error": Step("stream", ("absent", "open"), "broken"),
    "response.failed": Step("stream", ("broken",), "closed"),
    "response.output_item.added": Step("item", ("absent",), "open"),
    "response.function_call_arguments.delta": Step("item", _BEGUN, "open", ("function_call",)),
    "response.function_call_arguments.done": Step("item", _BEGUN, "said", ("function_call",)),
    "response.custom_tool_call_input.delta": Step("item", _BEGUN, "open", ("custom_tool_call",)),
    "response.custom_tool_call_input.done": Step("item", _BEGUN, "said", ("custom_tool_call",)),
    "response.output_item.done": Step("item", ("open", "said"), "closed"),
    "response.content_part.added": Step("part", ("absent",), "open", ("output_text", "refusal")),
    "response.output_text.delta": Step("part", _BEGUN, "open", ("output_text",)),
    "response.output_text.done": Step("part", _BEGUN, "said", ("output_text",)),
    "response.refusal.delta": Step("part", _BEGUN, "open", ("refusal",)),
    "response.refusal.done": Step("part", _BEGUN, "said", ("refusal",)),
    "response.content_part.done": Step("part", ("said",), "closed", ("output_text", "refusal")),
    "response.reasoning_summary_part.added": Step("part", ("absent",), "open", ("summary_text",)),
    "response.reasoning_summary_text.delta": Step("part", _BEGUN, "open", ("summary_text",)),
    "response.reasoning_summary_text.done": Step("part", _BEGUN, "said", ("summary_text",)),
    "response.reasoning_summary_part.done": Step("part", ("said",), "closed", ("summary_text",)),
}


class Form(Struct, frozen=True):
    """How text of one kind is written.

    holder  the member of the item that lists such parts; empty: the text is a member of the item itself
    index   the member of an event that counts them
    added   the event that begins a part; closed: the one that ends it
    delta   the event with a piece of the text; said: the one with all of it
    member  under which the whole text stands
    """

    holder: str
    index: str
    added: str
    delta: str
    said: str
    closed: str
    member: str


_CONTENT: Final = "response.content_part"
_SUMMARY: Final = "response.reasoning_summary"
_FUNCTION: Final = "response.function_call_arguments"
_CUSTOM: Final = "response.custom_tool_call_input"

FORMS: Final[dict[str, Form]] = {
    "output_text": Form(
        "content",
        "content_index",
        f"{_CONTENT}.added",
        "response.output_text.delta",
        "response.output_text.done",
        f"{_CONTENT}.done",
        "text",
    ),
    "refusal": Form(
        "content",
        "content_index",
        f"{_CONTENT}.added",
        "response.refusal.delta",
        "response.refusal.done",
        f"{_CONTENT}.done",
        "refusal",
    ),
    "summary_text": Form(
        "summary",
        "summary_index",
        f"{_SUMMARY}_part.added",
        f"{_SUMMARY}_text.delta",
        f"{_SUMMARY}_text.done",
        f"{_SUMMARY}_part.done",
        "text",
    ),
    "function_call": Form("", "", "", f"{_FUNCTION}.delta", f"{_FUNCTION}.done", "", "arguments"),
    "custom_tool_call": Form("", "", "", f"{_CUSTOM}.delta", f"{_CUSTOM}.done", "", "input"),
}
