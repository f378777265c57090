"""The model that is there when no other is: it answers as a real one would, and says what it is."""

import base64
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.requests import ModelRequest, Operation
from posthouse.dialects.openai_chat_whole import collect
from posthouse.providers.discovery import models_of
from posthouse.providers.echo import ROW, EchoTransport
from posthouse.providers.echo_desk import MODELS
from posthouse.providers.echo_forms import HEARING_MODEL
from posthouse.providers.echo_tokens import tokens_of
from posthouse.providers.model import deployment
from posthouse.providers.prepare import models_request, prepare, request_for
from posthouse.upstream.model import UpstreamRequest
from tests.providers.asking import account, chat, embeddings

LIMIT = 1 << 24


def echo() -> EchoTransport:
    return EchoTransport(clock=lambda: 1_795_000_000.5)


def request_to(model: str, operation: Operation, request: ModelRequest) -> UpstreamRequest:
    return request_for(prepare(deployment(account(ROW), "public-name", model), operation), request, 1e9)


async def asked(request: ModelRequest, model: str = "echo") -> tuple[int, Any]:
    response = await echo().send(request_to(model, "chat.completions", request))
    return response.status, msgspec.json.decode(await response.read(LIMIT))


async def streamed(request: ModelRequest) -> list[dict[str, Any]]:
    response = await echo().send(request_to("echo", "chat.completions", request))
    assert (response.status, response.headers) == (200, [(b"content-type", b"text/event-stream")])
    events = (await response.read(LIMIT)).split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    return [msgspec.json.decode(event.removeprefix(b"data: ")) for event in events[:-2]]


async def embedded(model: str = "echo-embedding", **fields: object) -> tuple[int, Any]:
    response = await echo().send(request_to(model, "embeddings", embeddings(**fields)))
    return response.status, msgspec.json.decode(await response.read(LIMIT))


def user(content: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": content}]


async def test_it_repeats_the_last_words_of_the_user_in_markdown_and_says_how_to_get_a_real_model() -> None:
    status, body = await asked(
        chat(messages=[*user("first"), {"role": "assistant", "content": "x"}, *user("Hello\nthere")])
    )
    text = body["choices"][0]["message"]["content"]
    assert status == 200
    assert "> Hello\n> there\n" in text
    assert "first" not in text
    assert text.startswith("# Echo\n")
    assert all(mark in text for mark in ("\n## ", "\n- ", "```sh\n", "OPENAI_API_KEY", "no language model"))
    assert (body["model"], body["object"], body["created"]) == ("echo", "chat.completion", 1_795_000_000)
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_it_answers_in_chinese_where_it_is_asked_in_chinese() -> None:
    _, body = await asked(chat(messages=user("你好")))
    text = body["choices"][0]["message"]["content"]
    assert "> 你好" in text
    assert "内置" in text


async def test_the_same_question_has_the_same_answer() -> None:
    assert await asked(chat()) == await asked(chat())


async def test_usage_is_the_count_of_its_tokens_and_sums() -> None:
    _, body = await asked(chat(messages=user("one two three")))
    usage = body["usage"]
    assert usage["prompt_tokens"] == 3
    assert usage["completion_tokens"] == len(tokens_of(body["choices"][0]["message"]["content"]))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@given(st.text(max_size=200))
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(tokens_of(text)) == text


async def test_pictures_and_files_are_acknowledged_and_counted() -> None:
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"file_id": "f"}},
    ]
    _, body = await asked(chat(messages=user(content)))
    assert "You said (with 2 attachments):" in body["choices"][0]["message"]["content"]
    assert body["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize("member", ["max_tokens", "max_completion_tokens"])
async def test_a_cap_is_honoured_exactly(member: str) -> None:
    _, body = await asked(chat(**{member: 5}))
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 5


async def test_a_stop_sequence_ends_the_text_before_it() -> None:
    _, body = await asked(chat(stop=["\n\nThis is", "nowhere"]))
    text = body["choices"][0]["message"]["content"]
    assert text.endswith("> What is the weather in Hangzhou?")
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_n_choices_are_n_times_the_output() -> None:
    _, one = await asked(chat(max_tokens=4))
    _, three = await asked(chat(max_tokens=4, n=3))
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["usage"]["completion_tokens"] == 3 * one["usage"]["completion_tokens"]
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]


@pytest.mark.parametrize("more", [{}, {"n": 2}, {"max_tokens": 3}, {"tools": [], "tool_choice": "auto"}])
async def test_a_stream_says_what_the_whole_answer_says(more: dict[str, object]) -> None:
    request = chat(stream=True, stream_options={"include_usage": True}, **more)
    response = await echo().send(request_to("echo", "chat.completions", request))
    from_stream = msgspec.json.decode(collect(await response.read(LIMIT)))
    _, whole = await asked(chat(**more))
    assert [(c["message"]["content"], c["finish_reason"]) for c in from_stream["choices"]] == [
        (c["message"]["content"], c["finish_reason"]) for c in whole["choices"]
    ]
    assert from_stream["usage"] == whole["usage"]


async def test_usage_stands_in_one_last_chunk_of_a_stream_that_asked_for_it() -> None:
    chunks = await streamed(chat(stream=True))  # the row asks for it
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}


async def test_a_stream_that_did_not_ask_has_no_usage_at_all() -> None:
    request = request_to("echo", "chat.completions", chat(stream=True))
    request.body = b'{"model":"echo","messages":[{"role":"user","content":"x"}],"stream":true}'
    response = await echo().send(request)
    assert b'"usage"' not in await response.read(LIMIT)


async def test_events_come_one_at_a_time() -> None:
    response = await echo().send(request_to("echo", "chat.completions", chat(stream=True)))
    assert (await response.chunk()).count(b"data: ") == 1
    response.close()
    assert await response.chunk() == b""


TOOLS = [
    {"type": "function", "function": {"name": "first", "parameters": {"type": "object", "properties": {}}}},
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
                "required": ["city", "days"],
            },
        },
    },
]


@pytest.mark.parametrize(
    ("choice", "name", "arguments"),
    [
        ("required", "first", {}),
        ({"type": "function", "function": {"name": "weather"}}, "weather", {"city": "echo", "days": 1}),
    ],
)
async def test_a_tool_that_is_insisted_on_is_called_with_arguments_that_fit(
    choice: object, name: str, arguments: object
) -> None:
    _, body = await asked(chat(tools=TOOLS, tool_choice=choice))
    message = body["choices"][0]["message"]
    assert message["content"] is None
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert [call["function"]["name"] for call in message["tool_calls"]] == [name]
    assert msgspec.json.decode(message["tool_calls"][0]["function"]["arguments"]) == arguments
    response = await echo().send(
        request_to("echo", "chat.completions", chat(tools=TOOLS, tool_choice=choice, stream=True))
    )
    streamed_message = msgspec.json.decode(collect(await response.read(LIMIT)))["choices"][0]["message"]
    assert [call["function"] for call in streamed_message["tool_calls"]] == [
        call["function"] for call in message["tool_calls"]
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": "required"},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "gone"}}},
    ],
)
async def test_a_tool_that_is_not_there_cannot_be_insisted_on(more: dict[str, object]) -> None:
    status, body = await asked(chat(**more))
    assert (status, body["error"]["param"]) == (400, "tool_choice")


async def test_json_is_json() -> None:
    _, body = await asked(chat(response_format={"type": "json_object"}))
    assert msgspec.json.decode(body["choices"][0]["message"]["content"]) == {
        "model": "echo",
        "echo": "What is the weather in Hangzhou?",
    }
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    structured = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    _, body = await asked(chat(response_format=structured))
    assert msgspec.json.decode(body["choices"][0]["message"]["content"]) == {"ok": False}


@pytest.mark.parametrize(
    ("given", "count", "tokens"), [("ab c", 1, 2), (["a", "b c"], 2, 3), ([1, 2, 3], 1, 3), ([[1], [2, 3]], 2, 3)]
)
async def test_text_batches_and_token_ids_are_embedded_as_unit_vectors(given: object, count: int, tokens: int) -> None:
    status, body = await embedded(input=given)
    assert status == 200
    assert [item["index"] for item in body["data"]] == list(range(count))
    for item in body["data"]:
        assert len(item["embedding"]) == 256
        assert sum(x * x for x in item["embedding"]) == pytest.approx(1)
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


async def test_an_embedding_depends_on_its_text_alone() -> None:
    _, one = await embedded(input=["a", "b", "a"], dimensions=8)
    _, other = await embedded(input="b", dimensions=8)
    vectors = [item["embedding"] for item in one["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert vectors[1] == other["data"][0]["embedding"]


async def test_base64_holds_the_same_numbers() -> None:
    _, floats = await embedded(dimensions=16)
    _, packed = await embedded(dimensions=16, encoding_format="base64")
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack("<16f", raw)) == floats["data"][0]["embedding"]


async def test_a_large_batch_is_embedded_whole() -> None:
    _, body = await embedded(input=[str(number) for number in range(200)], dimensions=2)
    assert len(body["data"]) == 200


async def test_it_lists_its_models() -> None:
    request = models_request(account(ROW), 1e9)
    assert request is not None
    response = await echo().send(request)
    assert models_of(await response.read(LIMIT)) == ["echo", "echo-embedding", *MODELS, HEARING_MODEL]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"messages": [{"role": "user", "content": 7}]}, 400, "messages[0].content"),
        ({"n": 1000}, 400, "n"),
        ({"max_tokens": 0}, 400, "max_tokens"),
    ],
)
async def test_bad_input_names_its_place(fields: dict[str, object], status: int, param: str) -> None:
    request = request_to("echo", "chat.completions", chat())
    request.body = msgspec.json.encode({"model": "echo", "messages": user("x"), **fields})
    response = await echo().send(request)
    error = msgspec.json.decode(await response.read(LIMIT))["error"]
    assert (response.status, error["type"]) == (status, "invalid_request_error")
    assert error["param"].replace("[...]", "[0]") == param
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"model":"echo"}'])
async def test_what_is_no_request_is_refused(body: bytes) -> None:
    request = request_to("echo", "chat.completions", chat())
    request.body = body
    assert (await echo().send(request)).status == 400


async def test_other_models_and_paths_are_not_found() -> None:
    status, body = await asked(chat(), model="gpt")
    assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")
    status, _ = await embedded(model="gpt")
    assert status == 404


async def test_a_model_of_its_own_that_is_for_something_else_is_refused() -> None:
    status, body = await embedded(model="echo")
    assert (status, body["error"]["type"], body["error"]["param"]) == (400, "invalid_request_error", "model")
    status, body = await asked(chat(), model="echo-image")
    assert (status, body["error"]["message"]) == (400, "The model 'echo-image' is not for this.")
    request = request_to("echo", "chat.completions", chat())
    request.target = b"/v1/other"
    assert (await echo().send(request)).status == 404


async def test_a_question_without_end_is_repeated_in_part() -> None:
    _, body = await asked(chat(messages=user("word " * 10_000)))
    assert len(body["choices"][0]["message"]["content"]) < 20_000
    assert body["usage"]["prompt_tokens"] >= 10_000
