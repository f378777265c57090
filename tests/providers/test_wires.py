"""Every provider through every text dialect: what a client asks in its own words, and what it is told in them."""

from typing import Any, Final

import msgspec
import pytest

from posthouse.core.errors import NotFound, UpstreamFailure
from posthouse.core.items import InnerResponse, ToolCallItem
from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Maker
from posthouse.dialects.codecs import CODECS, codec_of
from posthouse.dialects.inner import Collected, collected, text_of
from posthouse.providers import (
    anthropic,
    azure,
    deepseek,
    gemini,
    groq,
    minimax,
    moonshot,
    openai,
    openai_compatible,
    openrouter,
    qwen,
    vllm,
    zhipu,
)
from posthouse.providers.call import call
from posthouse.providers.model import Provider, deployment
from posthouse.providers.prepare import Prepared, models_request, prepare, request_for, wires_of
from posthouse.providers.registry import BUILTIN
from posthouse.providers.reply import Reply
from tests.providers.asking import CREDENTIAL, QUESTION, account, asked, chat, deployed, embeddings, prepared
from tests.providers.vendor import Refusal, Vendor, counted, expected, folder_of, refusals, usage_of, wire_of

FAR = 1e12
NOBODY = Maker("", "", "")
TEXTS = tuple(CODECS)
RECORDED = [row for row in BUILTIN if row.transport is None]
ECHO = next(row for row in BUILTIN if row.transport is not None)
# Ways that are not those of chat completions on both sides.
WAYS = [
    pytest.param(row, operation, id=f"{row.name}-{operation}")
    for row in RECORDED
    for operation in TEXTS
    if not (operation == "chat.completions" and operation in row.wires)
]
ways = pytest.mark.parametrize(("row", "operation"), WAYS)


def way(row: Provider, operation: Operation) -> Prepared:
    return prepare(deployed(row), operation)


def answer_in(operation: Operation, body: bytes) -> InnerResponse:
    return codec_of(operation).decode_response(body, NOBODY)


async def stream_in(operation: Operation, reply: Reply) -> Collected:
    """All that a client would get, with its end, as its own dialect has it."""
    stream, response = reply.stream, reply.response
    assert stream is not None and response is not None
    out = [reply.first]
    while not stream.done and (data := await response.chunk()):
        out.append(stream.feed(data))
    out.append(stream.finish())
    assert stream.error is None and stream.finish_reason is not None
    out.append(stream.end(stream.usage or Usage(), stream.usage is None))
    return collected(b"".join(out), codec_of(operation).decoder(NOBODY))


@ways
async def test_complete(row: Provider, operation: Operation) -> None:
    vendor = Vendor(row)
    reply = await call(way(row, operation), asked(operation), vendor, FAR, "req_1")
    wire = wire_of(str(vendor.seen and vendor.seen.target.partition(b"?")[0].decode()))
    said = expected(row, wire)
    assert reply.whole is not None
    assert counted(reply.whole.usage) == usage_of(said)
    answer = answer_in(operation, reply.body)
    assert text_of(answer).endswith(said.text)
    assert answer.usage is not None and answer.usage.total == usage_of(said).total
    assert [choice.finish for choice in answer.choices] == ["stop"]


@ways
async def test_stream(row: Provider, operation: Operation) -> None:
    vendor = Vendor(row)
    reply = await call(way(row, operation), asked(operation, stream=True), vendor, FAR, "req_1")
    wire = wire_of(str(vendor.seen and vendor.seen.target.partition(b"?")[0].decode()))
    found = await stream_in(operation, reply)
    said = expected(row, wire)
    assert reply.stream is not None
    assert counted(reply.stream.usage) == usage_of(said)
    assert reply.stream.emitted().text.endswith(said.text)
    assert text_of(found.response).endswith(said.text)
    assert [choice.finish for choice in found.response.choices] == ["stop"]


@pytest.mark.parametrize(("row", "operation"), [way for way in WAYS if way.values[1] != "completions"])
async def test_tool_call(row: Provider, operation: Operation) -> None:
    request = asked(operation, stream=True, tools=True)
    found = await stream_in(operation, await call(way(row, operation), request, Vendor(row), FAR, "req_1"))
    (call_,) = [item for item in found.response.choices[0].items if isinstance(item, ToolCallItem)]
    assert (call_.name, msgspec.json.decode(call_.arguments)) == ("get_weather", {"city": "Hangzhou"})
    assert found.response.choices[0].finish == "tool_calls"


@ways
@pytest.mark.parametrize("stream", [False, True])
async def test_a_vendor_that_does_not_do_as_asked_is_put_right(
    row: Provider, operation: Operation, stream: bool
) -> None:
    vendor = Vendor(row, contrary=True)
    reply = await call(way(row, operation), asked(operation, stream=stream), vendor, FAR, "req_1")
    answer = (await stream_in(operation, reply)).response if stream else answer_in(operation, reply.body)
    wire = wire_of(str(vendor.seen and vendor.seen.target.partition(b"?")[0].decode()))
    assert text_of(answer).endswith(expected(row, wire).text)
    assert [choice.finish for choice in answer.choices] == ["stop"]


@pytest.mark.parametrize("operation", TEXTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_model_in_this_process_serves_every_text_dialect(operation: Operation, stream: bool) -> None:
    assert ECHO.transport is not None
    ready = prepare(deployment(account(ECHO), "public-name", "echo"), operation)
    reply = await call(ready, asked(operation, stream=stream), ECHO.transport(), FAR, "req_1")
    answer = (await stream_in(operation, reply)).response if stream else answer_in(operation, reply.body)
    assert QUESTION in text_of(answer)


REFUSALS = [
    pytest.param(row, operation, found, id=f"{row.name}-{operation}-{found.status}-{found.kind}")
    for row in (anthropic.ROW, gemini.ROW)
    for operation in TEXTS
    for found in (*refusals(row), *refusals(row, "stream_errors.json"))
]


@pytest.mark.parametrize(("row", "operation", "refusal"), REFUSALS)
async def test_errors_are_of_the_same_kind_whatever_the_client_speaks(
    row: Provider, operation: Operation, refusal: Refusal
) -> None:
    vendor = Vendor(row, refusal)
    with pytest.raises(UpstreamFailure) as caught:
        await call(way(row, operation), asked(operation, stream=True), vendor, FAR, "req_1")
    assert (caught.value.kind, caught.value.retry_after) == (refusal.kind, refusal.retry_after)
    assert vendor.response is not None
    assert vendor.response.closed


# --- bytes pass where both sides speak the same -------------------


SAME = [
    pytest.param(row, wire, id=f"{row.name}-{wire}")
    for row in RECORDED
    for wire in row.wires
    if wire != "chat.completions" and wire in CODECS
]


@pytest.mark.parametrize(("row", "wire"), SAME)
async def test_the_same_dialect_passes_byte_for_byte(row: Provider, wire: Operation) -> None:
    recorded = folder_of(row, wire)
    whole = await call(way(row, wire), asked(wire), Vendor(row), FAR, "req_1")
    assert whole.body == (recorded / "whole.json").read_bytes()
    vendor = Vendor(row)
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if wire == "completions" else {}
    reply = await call(way(row, wire), asked(wire, stream=True, x_unknown={"a": None}, **more), vendor, FAR, "req_1")
    assert vendor.body["x_unknown"] == {"a": None}
    stream, response = reply.stream, reply.response
    assert stream is not None and response is not None
    out = reply.first
    while not stream.done and (data := await response.chunk()):
        out += stream.feed(data)
    came = (recorded / "stream.sse").read_bytes()
    assert came.startswith(out) and len(out) < len(came)  # what ends it is held back
    rest = stream.end(Usage(), estimated=False)
    assert out + rest in (came, came.removesuffix(b"data: [DONE]\n\n"))


async def test_usage_that_only_we_asked_for_does_not_pass() -> None:
    vendor = Vendor(vllm.ROW)
    reply = await call(way(vllm.ROW, "completions"), asked("completions", stream=True), vendor, FAR, "req_1")
    assert vendor.body["stream_options"] == {"include_usage": True}
    found = await stream_in("completions", reply)
    assert found.response.usage is None
    assert reply.stream is not None
    assert reply.stream.usage == Usage(input=60, output=33)


# --- where a request goes ----------------------------------------


@pytest.mark.parametrize(
    ("row", "settings", "operation", "target"),
    [
        (openai.ROW, {}, "responses", b"/v1/responses"),
        (openai.ROW, {}, "messages", b"/v1/responses"),
        (openai.ROW, {}, "chat.completions", b"/v1/chat/completions"),
        (openai.ROW, {"base_url": "https://us.api.openai.com/v1"}, "messages", b"/v1/responses"),
        (openai.ROW, {"base_url": "https://proxy.example.com/v1"}, "messages", b"/v1/chat/completions"),
        (openai.ROW, {"base_url": "https://proxy.example.com/v1"}, "responses", b"/v1/chat/completions"),
        (openai_compatible.ROW, {"wires": ("messages",)}, "chat.completions", b"/v1/messages"),
        (azure.ROW, {"base_url": "https://r.openai.azure.com"}, "responses", b"/openai/v1/responses"),
        (azure.ROW, {"base_url": "https://r.openai.azure.com"}, "messages", b"/openai/v1/chat/completions"),
        (
            azure.ROW,
            {"base_url": "https://r.openai.azure.com", "api_version": "2024-10-21"},
            "responses",
            b"/openai/deployments/vendor%2Fmodel-1/chat/completions?api-version=2024-10-21",
        ),
        (
            azure.ROW,
            {"base_url": "https://r.openai.azure.com", "api_version": "2025-04-01-preview"},
            "responses",
            b"/openai/responses?api-version=2025-04-01-preview",
        ),
        (deepseek.ROW, {}, "messages", b"/anthropic/v1/messages"),
        (moonshot.ROW, {}, "messages", b"/anthropic/v1/messages"),
        (moonshot.ROW, {"base_url": "https://api.moonshot.ai/v1"}, "messages", b"/anthropic/v1/messages"),
        (moonshot.ROW, {"base_url": "https://proxy.example.com/kimi/v1"}, "messages", b"/kimi/v1/chat/completions"),
        (zhipu.ROW, {}, "messages", b"/api/anthropic/v1/messages"),
        (zhipu.ROW, {"base_url": "https://api.z.ai/api/paas/v4"}, "messages", b"/api/anthropic/v1/messages"),
        (qwen.ROW, {}, "messages", b"/apps/anthropic/v1/messages"),
        (
            qwen.ROW,
            {"base_url": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"},
            "messages",
            b"/apps/anthropic/v1/messages",
        ),
        (minimax.ROW, {}, "responses", b"/anthropic/v1/messages"),
        (minimax.ROW, {}, "chat.completions", b"/v1/chat/completions"),
        (openrouter.ROW, {}, "messages", b"/api/v1/messages"),
        (groq.ROW, {}, "messages", b"/openai/v1/chat/completions"),
        (vllm.ROW, {"base_url": "http://10.0.0.9:8000/v1"}, "messages", b"/v1/messages"),
        (anthropic.ROW, {}, "chat.completions", b"/v1/messages"),
        (anthropic.ROW, {"base_url": "https://proxy.example.com"}, "messages", b"/v1/messages"),
        (anthropic.ROW, {"base_url": "https://proxy.example.com/v1/"}, "messages", b"/v1/messages"),
        (gemini.ROW, {}, "chat.completions", b"/v1beta/models/m:generateContent"),
    ],
)
def test_a_request_goes_over_its_own_wire_where_it_is_known_and_else_over_the_first(
    row: Provider, settings: dict[str, object], operation: Operation, target: bytes
) -> None:
    model = "m" if row is gemini.ROW else "vendor/model-1"
    ready = prepare(deployment(account(row, **settings), "public-name", model), operation)
    assert ready.target == target


def test_a_stream_may_have_an_address_of_its_own() -> None:
    ready = prepare(deployment(account(gemini.ROW), "g", "gemini-3-pro"), "generate_content")
    assert ready.stream_target == b"/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse"
    tuned = prepare(deployment(account(gemini.ROW), "g", "tunedModels/mine 1"), "generate_content")
    assert tuned.target == b"/v1beta/tunedModels/mine%201:generateContent"


def test_the_credential_goes_where_the_vendor_looks_for_it() -> None:
    messages = prepared(anthropic.ROW, "messages").headers
    assert b"x-api-key: upstream-credential-1\r\n" in messages
    assert b"anthropic-version: 2023-06-01\r\n" in messages
    assert b"x-goog-api-key: upstream-credential-1\r\n" in prepared(gemini.ROW, "generate_content").headers
    assert b"authorization" not in messages


def test_a_wire_demands_its_headers_of_every_vendor() -> None:
    assert b"anthropic-version: 2023-06-01\r\n" in prepared(deepseek.ROW, "messages").headers
    assert b"anthropic-version" not in prepared(deepseek.ROW).headers
    own = prepared(deepseek.ROW, "messages", headers=(("Anthropic-Version", "2026-10-21"),)).headers
    assert b"anthropic-version: 2026-10-21\r\n" in own and own.count(b"anthropic-version") == 1


def test_a_clients_version_and_betas_replace_the_rows_where_its_request_passes() -> None:
    request = asked("messages")
    request.headers = ((b"anthropic-version", b"2026-10-21"), (b"anthropic-beta", b"context-1m-2025-08-07"))
    headers = request_for(prepared(anthropic.ROW, "messages"), request, 1.0).headers
    assert b"anthropic-version: 2026-10-21\r\nanthropic-beta: context-1m-2025-08-07\r\n" in headers
    assert headers.count(b"anthropic-version") == 1
    assert CREDENTIAL.encode() in headers


def test_a_provider_without_any_wire_of_texts_offers_none() -> None:
    row = msgspec.structs.replace(openai_compatible.ROW, wires=())
    with pytest.raises(NotFound, match=r"does not offer chat\.completions"):
        prepared(row)
    assert wires_of(account(row)) == ()


def test_a_list_is_asked_for_page_by_page() -> None:
    first, second = (models_request(account(anthropic.ROW), 1.0, page) for page in ("", "after_id=x"))
    assert first is not None and second is not None
    assert (first.target, second.target) == (b"/v1/models?limit=1000", b"/v1/models?limit=1000&after_id=x")


def test_a_body_has_no_model_where_the_address_names_it() -> None:
    ready = prepared(gemini.ROW, "generate_content")
    body = msgspec.json.decode(request_for(ready, asked("generate_content"), 1.0).body)
    assert "model" not in body and body["contents"]


async def test_embeddings_of_a_form_of_its_own_are_asked_for_and_told_in_openais() -> None:
    vendor = Vendor(gemini.ROW)
    reply = await call(prepared(gemini.ROW, "embeddings"), embeddings(input=["a", "b"]), vendor, FAR)
    assert [one["content"] for one in vendor.body["requests"]] == [
        {"parts": [{"text": "a"}]},
        {"parts": [{"text": "b"}]},
    ]
    body = msgspec.json.decode(reply.body)
    assert body["data"][0] == {"object": "embedding", "index": 0, "embedding": [0.5, -0.25, 0.125]}
    assert reply.whole is not None and reply.whole.usage is None  # to be counted
    assert reply.write is not None
    assert msgspec.json.decode(reply.write(Usage(input=5)))["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    packed = await call(prepared(gemini.ROW, "embeddings"), embeddings(encoding_format="base64"), vendor, FAR)
    assert isinstance(msgspec.json.decode(packed.body)["data"][0]["embedding"], str)


# --- requests that must go another way ---------------------------


TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    ("model", "members", "around"),
    [
        ("gpt-5.4", {"tools": TOOLS, "reasoning_effort": "low"}, True),
        ("gpt-5.6-terra", {"tools": TOOLS}, True),
        ("gpt-6-astra", {"tools": TOOLS}, True),
        ("gpt-6.1-sol-2026-11-01", {"tools": TOOLS}, True),
        ("gpt-5.6-sol", {"tools": TOOLS, "reasoning_effort": "none"}, False),
        ("gpt-5.6-sol", {"reasoning_effort": "high"}, False),
        ("gpt-5.6-sol", {"tools": []}, False),
        ("gpt-5.3", {"tools": TOOLS, "reasoning_effort": "low"}, False),
        ("gpt-4o", {"tools": TOOLS}, False),
        ("gpt-4.1-mini", {"tools": TOOLS}, False),
        ("o3", {"tools": TOOLS}, False),
    ],
)
def test_tools_with_reasoning_go_over_responses_where_chat_refuses_them(
    model: str, members: dict[str, Any], around: bool
) -> None:
    ready = prepare(deployment(account(openai.ROW), "m", model), "chat.completions")
    assert ready.around(chat(**members)).wire == ("responses" if around else "chat.completions")


def test_at_a_compatible_server_nothing_goes_another_way() -> None:
    where = account(openai.ROW, base_url="https://proxy.example.com/v1")
    assert prepare(deployment(where, "m", "gpt-5.6-sol"), "chat.completions").direct


V1: Final[str | None] = None
CLASSIC: Final = "2025-03-01-preview"


@pytest.mark.parametrize(
    ("name", "upstream", "api_version", "members", "target"),
    [
        ("m", "gpt-5.4", V1, {"reasoning_effort": "low"}, b"/openai/v1/responses"),
        ("m", "gpt-5.4", "preview", {}, b"/openai/v1/responses?api-version=preview"),
        ("m", "gpt-5.4", CLASSIC, {}, b"/openai/responses?api-version=2025-03-01-preview"),
        ("m", "Team-GPT-5.6-luna-eu", V1, {}, b"/openai/v1/responses"),
        ("m", "gpt-5.6-luna", V1, {"reasoning_effort": "none"}, b"/openai/v1/responses"),
        # The deployment's name tells nothing, the operator's does.
        ("gpt-5.4", "assistant", V1, {}, b"/openai/v1/responses"),
        ("gpt-5.4", "gpt-54", V1, {}, b"/openai/v1/responses"),
        # Where both tell, the deployment's holds.
        ("gpt-5.4", "gpt-4o-eu", V1, {}, b"/openai/v1/chat/completions"),
        # Neither tells: nothing is believed.
        ("helper", "assistant", V1, {}, b"/openai/v1/chat/completions"),
        ("helper", "mygpt-5.4", V1, {}, b"/openai/v1/chat/completions"),
        ("helper", "gpt-54", V1, {}, b"/openai/v1/chat/completions"),
        # Older models, and a shape without responses.
        ("m", "gpt-35-turbo", V1, {}, b"/openai/v1/chat/completions"),
        ("m", "gpt-5.3", V1, {}, b"/openai/v1/chat/completions"),
        ("m", "o3-mini", V1, {}, b"/openai/v1/chat/completions"),
        (
            "m",
            "gpt-5.4",
            "2024-10-21",
            {},
            b"/openai/deployments/gpt-5.4/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_of_a_deployment_is_known_what_its_name_or_ours_tells(
    name: str, upstream: str, api_version: str | None, members: dict[str, Any], target: bytes
) -> None:
    where = account(azure.ROW, base_url="https://r.openai.azure.com", api_version=api_version)
    ready = prepare(deployment(where, name, upstream), "chat.completions")
    assert ready.around(chat(tools=TOOLS, **members)).target == target
    assert ready.around(chat(**members)) is ready


async def test_a_chat_that_goes_another_way_is_answered_as_a_chat() -> None:
    vendor = Vendor(openai.ROW)
    ready = prepare(deployment(account(openai.ROW), "public-name", "gpt-5.6-sol"), "chat.completions")
    reply = await call(ready, chat(tools=TOOLS, stream=True), vendor, FAR, "req_1")
    assert vendor.seen is not None
    assert vendor.seen.target == b"/v1/responses"
    assert vendor.body["model"] == "gpt-5.6-sol"
    found = await stream_in("chat.completions", reply)
    assert found.response.choices[0].finish == "tool_calls"


def test_what_asks_for_nothing_special_is_prepared_for_the_shortest_way() -> None:
    ready = prepared(openai_compatible.ROW)
    assert ready.direct and ready.plain and ready.way is None and ready.detour is None
    request: ModelRequest = chat()
    assert ready.around(request) is ready
    assert request.inner is None
