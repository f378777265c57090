"""Made-up pieces of gemini: makers, state, items that the dialect can say, and JSON that it cannot."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from posthouse.core.items import (
    InnerRequest,
    Item,
    Items,
    MessageItem,
    OpaqueState,
    ReasoningItem,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Part, TextPart
from posthouse.dialects.codec import Addressed, Maker, ReplyHead
from posthouse.dialects.gemini import CODEC

MAKER = Maker("vendor", "gem-3", "main")
OWN = OpaqueState("vendor", "gem-3", "main", b"b3du")
FOREIGN = OpaqueState("other", "o-9", "main", b"\x00\xff not text")
NOBODYS = OpaqueState("", "", "", b"AbC+/-_=")
HEAD = ReplyHead("r1", "my-model", 1_700_000_000)
ADDRESSED = Addressed("my-model")

WORD = st.text(min_size=1, max_size=8)
OBJECTS = st.sampled_from(
    ["{}", '{"a": 1}', '{ "snake_case" :[null, 1.50],"b":{"c_d":""} }', '{"n":12345678901234567890}']
)
STATES = st.sampled_from([FOREIGN, OWN, NOBODYS])
MEDIA: st.SearchStrategy[Part] = st.sampled_from(
    [
        ImagePart("data:image/png;base64,aGk="),
        ImagePart("https://example.com/a/cat.png?x=1"),
        AudioPart(data="aGk=", format="wav"),
        FilePart(data="data:application/pdf;base64,aGk="),
        OpaquePart("gemini", b'{"executableCode":{"language": "PYTHON", "code": "1 "}}'),
    ]
)
PARTS: st.SearchStrategy[Part] = st.builds(TextPart, WORD) | MEDIA


@st.composite
def turns(draw: st.DrawFn) -> Items:
    """A conversation as this dialect says it: neighbours of one role are one message; state stands before an item."""
    items: list[Item] = []
    if draw(st.booleans()):
        items.append(MessageItem("system", tuple(draw(st.lists(st.builds(TextPart, WORD), min_size=1, max_size=2)))))
    calls = 0
    for _ in range(draw(st.integers(1, 4))):
        items.append(MessageItem("user", draw(st.lists(PARTS, min_size=1, max_size=3).map(tuple))))
        said = draw(model_items(calls))
        items += said
        names = [item for item in said if isinstance(item, ToolCallItem)]
        calls += len(names)
        for call in names:
            texts = draw(st.lists(st.builds(TextPart, WORD | OBJECTS), max_size=1))
            media = draw(st.lists(MEDIA, max_size=2))
            items.append(ToolResultItem(call.call_id, (*texts, *media), draw(st.booleans()) and bool(texts)))
    return tuple(items)


@st.composite
def model_items(draw: st.DrawFn, calls: int = 0, states: st.SearchStrategy[OpaqueState] = STATES) -> list[Item]:
    items: list[Item] = []
    for kind in draw(st.lists(st.sampled_from(["thought", "state", "message", "call"]), max_size=5)):
        last = items[-1] if items else None
        if kind == "thought":
            items.append(ReasoningItem(draw(WORD), draw(st.none() | states)))
        elif kind == "state" and not (isinstance(last, ReasoningItem) and last.state is None):
            items.append(ReasoningItem("", draw(states)))
        elif kind == "message" and not isinstance(last, MessageItem):
            items.append(MessageItem("assistant", draw(st.lists(PARTS, min_size=1, max_size=3).map(tuple))))
        elif kind == "call":
            items.append(ToolCallItem(f"id{calls}", draw(WORD), draw(OBJECTS)))
            calls += 1
    return items


def asked(*items: Item, dialect: str = "openai_chat", **members: Any) -> InnerRequest:
    return InnerRequest(dialect=dialect, model="m", items=items, **members)


def sent(request: InnerRequest, maker: Maker = MAKER) -> dict[str, Any]:
    """The body that a provider gets, decoded."""
    body = json.loads(CODEC.encode_request(request, maker).body)
    assert isinstance(body, dict)
    return body


def dropped(request: InnerRequest) -> tuple[str, ...]:
    return CODEC.encode_request(request, MAKER).dropped


def read(body: dict[str, Any]) -> InnerRequest:
    return CODEC.decode_request(json.dumps(body).encode(), ADDRESSED)


def contents(*parts: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"contents": [{"role": role, "parts": list(parts)}]}


# --- what does not fit -------------------------------------------
JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0.5, 10**30, "", "text", "ph1.x", "cGgxLm", [], [[]], [None], {}, {"a": None}, "\ud800", "5"]
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _places(one, (*path, key))


@st.composite
def damaged(draw: st.DrawFn, whole: dict[str, Any]) -> bytes:
    """The body with junk in one to three places, perhaps cut short."""
    value = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([path for path in _places(value) if path] or [()]))
        if not place:
            break
        parent = value
        for key in place[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            parent[place[-1]] = json.loads(json.dumps(draw(JUNK)))  # a copy: it may be damaged too
        else:
            del parent[place[-1]]
    body = json.dumps(value, allow_nan=False).encode()
    return body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 9)) == 0 else body


CALL = {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "AbC="}
RESULT = {"functionResponse": {"id": "c1", "name": "f", "response": {"output": "x"}, "parts": [{"inlineData": {}}]}}
RICH: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "be brief"}]},
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "hi"},
                {"inlineData": {"mimeType": "image/png", "data": "aGk-"}},
                {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/x"}},
            ],
        },
        {"role": "model", "parts": [{"text": "hm", "thought": True}, CALL, {"executableCode": {"code": "1"}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"error": "no"}}}]},
    ],
    "tools": [
        {"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT"}}]},
        {"googleSearch": {}},
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "temperature": 1.0,
        "topK": 40,
        "maxOutputTokens": 9,
        "candidateCount": 1,
        "stopSequences": ["x"],
        "seed": 1,
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}},
        "thinkingConfig": {"thinkingBudget": 0, "thinkingLevel": "LOW", "includeThoughts": True},
        "speechConfig": {"x": 1},
    },
    "safetySettings": [],
}
