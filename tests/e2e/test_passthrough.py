"""Same dialect in and out: what a client sends reaches the provider as it is, and what the provider says comes back."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.e2e.answers import USAGE, answers, asked, chunk, completion, fault, frames, held, streams
from tests.e2e.house import ADMIN_KEY, Place, place
from tests.e2e.upstream import Visit
from tests.e2e.wire import payloads, request

MODELS = '"m", "m2", { name = "alias", upstream = "their/model:1" }'
DONE = "[DONE]"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house"), models=MODELS) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {"*": answers(completion())}


def members(body: bytes) -> list[tuple[str, Any]]:
    """A JSON object with its order and its repetitions."""
    found: list[tuple[str, Any]] = json.loads(body, object_pairs_hook=lambda pairs: pairs)
    return found


# --- the way up ------------------------------------------------------------------------------------------------------
ODD_VALUES = (
    b'"messages":[{"zebra":1,"role":"user","content":"h\\u00e9\\u4e2d \xe4\xb8\xad","alpha":null,"n":1e-7}]',
    b'"big":12345678901234567890',
    b'"unknown": {"z": 1, "a": [null, true, {"y":"\\u0041", "b" : 2.50}] , "dup":1,"dup":2}',
    b'"temperature":0.70',
    b'"stop":null',
    b'"logit_bias":{"50256":-100}',
    b'"user":""',
)


@pytest.mark.req("CHAT-E2E-010")
@pytest.mark.parametrize("base", ["/v1", ""])
def test_the_bytes_of_every_member_but_the_model_reach_the_provider(here: Place, base: str) -> None:
    body = b'{"model": "alias", ' + b" ,\n ".join(ODD_VALUES) + b"}"
    with here.house.wire() as wire:
        answer = wire.ask(f"{base}/chat/completions", body, ADMIN_KEY)
    assert answer.status == 200
    sent = here.upstream.visit().body
    assert sent == b'{"model":"their/model:1",' + b",".join(_joined()) + b"}"
    assert here.upstream.visit().path == "/v1/chat/completions"


def _joined() -> list[bytes]:
    """The members as they are written again: name and value without space between them, the value untouched."""
    return [name + b":" + value.strip() for name, _, value in (member.partition(b":") for member in ODD_VALUES)]


@pytest.mark.req("CHAT-E2E-010", "CHAT-E2E-004")
def test_of_a_stream_only_the_model_and_include_usage_are_touched(here: Place) -> None:
    here.upstream.scripts["m"] = streams(["a"])
    given = asked(stream=True, seed=None, metadata={"b": 1, "a": 2})
    with here.house.wire() as wire:
        wire.ask("/v1/chat/completions", given, ADMIN_KEY)
        wire.ask("/v1/chat/completions", {**given, "stream_options": {"x": None, "include_usage": False}}, ADMIN_KEY)
        wire.ask("/v1/chat/completions", {**given, "stream_options": {"include_usage": True}}, ADMIN_KEY)
    plain, refused, wished = (members(visit.body) for visit in here.upstream.visits)
    usual = [("stream_options", [("include_usage", True)])]
    assert plain == [*members(json.dumps(given).encode()), *usual]
    assert refused == [*members(json.dumps(given).encode()), ("stream_options", [("x", None), ("include_usage", True)])]
    assert wished == [*members(json.dumps(given).encode()), *usual]


@pytest.mark.req("CHAT-E2E-010")
def test_of_a_repeated_member_the_last_reaches_the_provider(here: Place) -> None:
    body = b'{"model":"m2","seed":1,"model":"m","messages":[{"role":"user","content":"x"}],"seed":2}'
    with here.house.wire() as wire:
        assert wire.ask("/v1/chat/completions", body, ADMIN_KEY).status == 200
    sent = members(here.upstream.visit().body)
    assert dict(sent)["model"] == "m"
    assert [value for name, value in sent if name == "seed"] == [2]


@pytest.mark.req("CHAT-E2E-010")
def test_the_client_s_own_headers_stay_here_and_the_provider_s_credential_goes_there(here: Place) -> None:
    extra = "cookie: a=b\r\nx-api-key: another\r\nopenai-organization: org-1\r\nx-forwarded-for: 10.0.0.1\r\n"
    with here.house.wire() as wire:
        answer = wire.ask("/v1/chat/completions", asked(), ADMIN_KEY, extra=extra)
    assert answer.status == 200
    headers = here.upstream.visit().headers
    assert headers.pop("authorization") == "Bearer upstream-credential-1"
    assert headers.pop("user-agent").startswith("posthouse/")
    assert headers.keys() <= {"host", "content-type", "content-length", "connection", "accept", "accept-encoding"}
    assert ADMIN_KEY not in here.upstream.visit().head


# --- the way down ----------------------------------------------------------------------------------------------------
@pytest.mark.req("CHAT-E2E-010")
def test_a_whole_answer_comes_back_byte_for_byte(here: Place) -> None:
    body = (
        b'{ "id":"x", "vendor_extra": {"z":1,"a":[1.0,2e3,null]},"choices":[{"index":0,"finish_reason":"stop",'
        b'"message":{"role":"assistant","content":"\\u00e9\xe4\xb8\xad","reasoning_content":"r","dup":1,"dup":2}}],"usage":'
        b'{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"odd":null} }\n'
    )
    here.upstream.scripts["m"] = answers(body)
    with here.house.wire() as wire:
        assert wire.ask("/v1/chat/completions", asked(), ADMIN_KEY).body == body


@pytest.mark.req("CHAT-E2E-004", "CHAT-E2E-010")
@pytest.mark.parametrize("wish", [True, False])
def test_a_stream_comes_back_byte_for_byte_but_for_the_usage_chunk_that_nobody_asked_for(
    here: Place, wish: bool
) -> None:
    opening = (
        b': a comment\n\ndata: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant"}}],"odd":null}\n\n'
        b'data:{"choices":[{"delta":{"content":"h\\u00e9"},"index":0}],"usage":null,"dup":1,"dup":2}\n\n'
        b'id: 7\nevent: message\ndata: { "choices" : [ {"index":0,"delta":{},"finish_reason":"stop"} ] }\r\n\r\n'
    )
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18},"x":1}\n\n'
    here.upstream.scripts["m"] = frames(opening, usage, b"data: [DONE]\n\n")
    with here.house.wire() as wire:
        body = asked(stream=True, stream_options={"include_usage": wish})
        answer = wire.ask("/v1/chat/completions", body, ADMIN_KEY)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body == opening + (usage if wish else b"") + b"data: [DONE]\n\n"


@pytest.mark.req("CHAT-E2E-004")
def test_usage_on_the_chunk_that_finishes_stays_and_is_billed(here: Place) -> None:
    finish = chunk({}, "stop", usage=USAGE)
    here.upstream.scripts["m"] = frames(chunk({"content": "a"}), finish, DONE)
    with here.house.wire() as wire:
        answer = wire.ask("/v1/chat/completions", asked(stream=True), ADMIN_KEY)
    assert payloads(answer.body) == [chunk({"content": "a"}), finish, DONE]
    stored = here.house.stored(answer.headers["x-request-id"])
    assert (stored.record["usage_source"], stored.record["cost"]) == ("provider", 11 * 1000 + 7 * 10_000)


@pytest.mark.req("CHAT-E2E-014")
@pytest.mark.parametrize("wish", [True, False])
def test_a_stream_without_usage_is_counted_and_shown_to_who_asked(here: Place, wish: bool) -> None:
    here.upstream.scripts["m"] = streams(["Hello", " there", "!"], usage=None)
    with here.house.wire() as wire:
        body = asked(stream=True, stream_options={"include_usage": wish})
        answer = wire.ask("/v1/chat/completions", body, ADMIN_KEY)
    *events, last, done = payloads(answer.body)
    assert done == DONE
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert record["usage_source"] == "estimated"
    assert record["output"] == 3
    assert record["cost"] == record["input"] * 1000 + 3 * 10_000
    if wish:
        assert last["choices"] == []
        assert last["usage"]["prompt_tokens"] == record["input"]
        assert last["usage"]["completion_tokens"] == 3
    else:
        assert all("usage" not in event for event in [*events, last])


@pytest.mark.req("CHAT-E2E-006")
def test_a_missing_done_is_supplied(here: Place) -> None:
    here.upstream.scripts["m"] = streams(["a"], done=False)
    with here.house.wire() as wire:
        answer = wire.ask("/v1/chat/completions", asked(stream=True), ADMIN_KEY)
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert answer.body.count(b"[DONE]") == 1


@pytest.mark.req("CHAT-E2E-006")
def test_a_last_event_without_its_blank_line_is_forwarded(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        last = json.dumps(chunk({"content": "a"}, "stop")).encode()
        await visit.send(b"data: " + last)
        visit.close()

    here.upstream.scripts["m"] = script
    with here.house.wire() as wire:
        answer = wire.ask("/v1/chat/completions", asked(stream=True), ADMIN_KEY)
    assert payloads(answer.body) == [chunk({"content": "a"}, "stop"), DONE]


@pytest.mark.req("CHAT-E2E-002")
def test_each_event_reaches_the_client_before_the_next_is_sent(here: Place) -> None:
    gates = [here.upstream.gate() for _ in range(3)]

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        for number, gate in enumerate(gates):
            await visit.event(chunk({"content": str(number)}))
            await gate.passed(visit)
        await visit.event(chunk({}, "stop"))
        await visit.end_stream()

    here.upstream.scripts["m"] = script
    with here.house.openai() as client, client.chat.completions.create(**asked(stream=True)) as stream:
        for number, gate in enumerate(gates):
            assert next(stream).choices[0].delta.content == str(number)
            gate.open()
        assert next(stream).choices[0].finish_reason == "stop"


@pytest.mark.req("CHAT-E2E-007")
def test_an_upstream_that_streams_unasked_gives_a_whole_answer(here: Place) -> None:
    here.upstream.scripts["m"] = streams(["Hello", " there"])
    with here.house.wire() as wire:
        answer = wire.ask("/v1/chat/completions", asked(), ADMIN_KEY)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["object"] == "chat.completion"
    assert answer.json["choices"][0]["message"]["content"] == "Hello there"
    assert answer.json["usage"] == USAGE
    assert answer.headers["x-posthouse-cost"] == "0.000081"


@pytest.mark.req("CHAT-E2E-007")
def test_an_upstream_that_does_not_stream_though_asked_gives_a_stream(here: Place) -> None:
    before = here.house.last_id()
    with here.house.openai() as client, client.chat.completions.create(**asked(stream=True)) as stream:
        events = list(stream)
    assert "".join(event.choices[0].delta.content or "" for event in events) == "Hello there"
    assert events[-1].choices[0].finish_reason == "stop"
    assert here.house.only_since(before).record["usage_source"] == "provider"


# --- what goes wrong -------------------------------------------------------------------------------------------------
BROKEN = {
    "error before content": frames(fault("The tank is empty.", code="server_error")),
    "error in a whole answer": answers(fault("The tank is empty.", code="server_error")),
    "error of a choice": answers({"choices": [{"error": {"message": "The tank is empty.", "code": 502}}]}),
}


@pytest.mark.req("CHAT-E2E-008")
@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_inside_a_200_becomes_an_error_response(here: Place, what: str, stream: bool) -> None:
    here.upstream.scripts["m"] = BROKEN[what]
    with here.house.wire() as wire:
        answer = wire.ask("/v1/chat/completions", asked(stream=stream), ADMIN_KEY)
    assert answer.status == 502
    assert "The tank is empty." in answer.error["message"]
    assert here.house.stored(answer.headers["x-request-id"]).record["cost"] is None


BREAKS: dict[str, list[dict[str, Any] | str]] = {
    "says so": [fault("The tank is empty.", type="overloaded_error", code="overloaded_error")],
    "says so and DONE": [fault("The tank is empty."), DONE],
    "ends": [],
    "is done without having finished": [DONE],
    "tells its usage without having finished": [chunk(None, usage=USAGE), DONE],
}


@pytest.mark.req("CHAT-E2E-008", "CHAT-E2E-005")
@pytest.mark.parametrize("how", BREAKS)
def test_a_stream_that_breaks_ends_with_an_event_that_the_sdk_raises(here: Place, how: str) -> None:
    gate = here.upstream.gate()
    here.upstream.scripts["m"] = held(gate, [chunk({"content": "a"})], *BREAKS[how])
    with here.house.openai() as client, client.chat.completions.create(**asked(stream=True)) as stream:
        assert next(stream).choices[0].delta.content == "a"
        gate.open()
        with pytest.raises(openai.APIError) as caught:
            list(stream)
    assert type(caught.value) is openai.APIError
    if how.startswith("says so"):
        assert "The tank is empty." in caught.value.message
        assert caught.value.type == "upstream_error"
    else:
        assert "ended before the answer was finished" in caught.value.message


@pytest.mark.req("CHAT-E2E-005")
def test_a_stream_cut_by_a_reset_ends_with_the_error_event_and_no_done(here: Place) -> None:
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event(chunk({"content": "a"}))
        await gate.passed(visit)
        visit.reset()

    here.upstream.scripts["m"] = script
    with here.house.wire() as wire:
        wire.send(request("/v1/chat/completions", asked(stream=True), ADMIN_KEY))
        wire.head()
        events = wire.events()
        assert payloads(next(events)) == [chunk({"content": "a"})]
        gate.open()
        (error,) = payloads(b"".join(events))
    assert set(error["error"]) == {"message", "type", "param", "code"}


def test_an_event_without_end_in_mid_stream_is_an_error_event_and_its_hold_ends(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event(chunk({"content": "a"}))
        with contextlib.suppress(ConnectionError):  # the gateway hangs up
            for _ in range(64):
                await visit.frame(b"data: " + b"x" * (64 << 10))

    here.upstream.scripts["m"] = script
    before = here.house.last_id()
    with here.house.wire() as wire:
        wire.send(request("/v1/chat/completions", asked(stream=True), ADMIN_KEY))
        wire.head()
        *_, error = payloads(b"".join(wire.events()))
    assert error["error"]["type"] == "upstream_error"
    stored = here.house.only_since(before)
    assert (stored.record["ended_by"], stored.record["usage_source"]) == ("upstream", "estimated")
    assert stored.hold is not None
    assert stored.hold["state"] == "settled"


@pytest.mark.req("EMBED-E2E-001")
def test_embeddings_pass_byte_for_byte_where_the_provider_gives_what_was_asked(here: Place) -> None:
    body = b'{"object":"list","data":[{"index":0,"embedding":[0.10,-2e-3],"odd":null}],"usage":{"prompt_tokens":11}}'
    here.upstream.scripts["m"] = answers(body)
    with here.house.wire() as wire:
        answer = wire.ask("/embeddings", {"model": "m", "input": [[1, 2], [3]], "dimensions": 2, "x": None}, ADMIN_KEY)
    assert answer.body == body
    assert answer.headers["x-posthouse-cost"] == "0.000011"
    sent = here.upstream.visit()
    assert sent.json == {"model": "m", "input": [[1, 2], [3]], "dimensions": 2, "x": None}
    assert sent.path == "/v1/embeddings"
