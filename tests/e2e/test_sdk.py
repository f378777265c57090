"""OpenAI's own client, unchanged, through the house: what it sends is understood, and what it gets it understands."""

import base64
import struct
from collections.abc import Iterator

import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.e2e.answers import USAGE, answers, asked, chunk, completion, embedded, frames, streams
from tests.e2e.house import ADMIN_KEY, Place, place
from tests.e2e.upstream import Visit

FLOATS = [0.5, -1.25, 3.0]
PACKED = base64.b64encode(struct.pack("<3f", *FLOATS)).decode()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house"), models='"m", "org/m:2", "secret-model"') as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {"*": answers(completion())}


@pytest.mark.req("CHAT-E2E-001")
@pytest.mark.parametrize("base", ["/v1", ""])
def test_the_client_completes_a_chat(here: Place, base: str) -> None:
    with here.house.openai(base=base) as client:
        answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content == "Hello there"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 18
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


@pytest.mark.req("CHAT-E2E-001", "CHAT-E2E-004")
def test_the_client_streams_a_chat_with_usage(here: Place) -> None:
    here.upstream.scripts["m"] = streams(["Hel", "lo"])
    with here.house.openai() as client:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True, stream_options={"include_usage": True}
        )
        with stream:
            events = list(stream)
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == "Hello"
    assert events[-1].choices == []
    assert events[-1].usage is not None
    assert events[-1].usage.to_dict() == USAGE


@pytest.mark.req("CHAT-E2E-001")
async def test_the_asynchronous_client_does_both(here: Place) -> None:
    here.upstream.scripts["org/m:2"] = streams(["Hel", "lo"])
    http = DefaultAsyncHttpxClient(trust_env=False)
    async with AsyncOpenAI(
        api_key=ADMIN_KEY, base_url=here.house.base_url + "/v1", max_retries=0, http_client=http
    ) as client:
        whole = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        assert whole.choices[0].message.content == "Hello there"
        stream = await client.chat.completions.create(
            model="org/m:2", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        text = [event.choices[0].delta.content or "" async for event in stream]
        assert "".join(text) == "Hello"


@pytest.mark.req("CHAT-E2E-001")
def test_tool_calls_and_members_of_a_vendor_s_own_arrive_in_the_client(here: Place) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    here.upstream.scripts["m"] = frames(
        chunk({"role": "assistant", "reasoning_content": "Let me see."}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"at":"x"}'}}]}, vendor={"a": 1}),
        chunk({}, "tool_calls"),
        "[DONE]",
    )
    with here.house.openai() as client, client.chat.completions.create(**asked(stream=True)) as stream:
        events = list(stream)
    assert events[0].choices[0].delta.to_dict()["reasoning_content"] == "Let me see."
    assert events[2].choices[0].delta.tool_calls[0].function.arguments == '{"at":"x"}'
    assert events[2].to_dict()["vendor"] == {"a": 1}
    assert events[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.req("EMBED-E2E-001")
@pytest.mark.parametrize("given", ["a text", ["two", "texts"], [1, 2, 3], [[1, 2], [3]]])
@pytest.mark.parametrize("provider_packs", [True, False])
def test_embeddings_of_all_inputs_whatever_form_the_provider_answers_in(
    here: Place, given: object, provider_packs: bool
) -> None:
    many = len(given) if isinstance(given, list) and not isinstance(given[0], int) else 1
    here.upstream.scripts["m"] = answers(embedded([PACKED if provider_packs else FLOATS] * many))
    with here.house.openai() as client:
        # Without a wish the client asks for base64, and unpacks it.
        answer = client.embeddings.create(model="m", input=given)  # type: ignore[arg-type]
    assert [one.embedding for one in answer.data] == [FLOATS] * many
    assert answer.usage.prompt_tokens == 11
    sent = here.upstream.visit().json
    assert sent["input"] == given
    assert sent["encoding_format"] == "base64"


@pytest.mark.req("EMBED-E2E-001")
def test_embeddings_as_floats_and_as_base64_by_name(here: Place) -> None:
    here.upstream.scripts["m"] = answers(embedded([FLOATS]))
    with here.house.openai() as client:
        floats = client.embeddings.create(model="m", input="x", encoding_format="float")
        packed = client.embeddings.create(model="m", input="x", encoding_format="base64")
    assert floats.data[0].embedding == FLOATS
    assert packed.data[0].embedding == PACKED  # type: ignore[comparison-overlap]


@pytest.mark.req("MODELS-E2E-001")
@pytest.mark.parametrize("base", ["/v1", ""])
def test_models_are_listed_and_retrieved(here: Place, base: str) -> None:
    with here.house.openai(base=base) as client:
        listed = {model.id: model for model in client.models.list()}
        assert set(listed) == {"m", "org/m:2", "secret-model"}
        one = client.models.retrieve("org/m:2")
        assert one == listed["org/m:2"]
        assert one.object == "model"
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"


@pytest.mark.req("MODELS-E2E-001")
def test_a_scoped_key_sees_and_uses_its_models_only(here: Place) -> None:
    key = here.house.new_key(models=["m"])
    with here.house.openai(key) as client:
        assert [model.id for model in client.models.list()] == ["m"]
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("secret-model")
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.chat.completions.create(model="secret-model", messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.param == "model"
    assert len(here.upstream.visits) == 1


@pytest.mark.req("CHAT-E2E-011")
def test_the_client_raises_the_exception_that_fits(here: Place) -> None:
    with here.house.openai("sk-ph-nobody-knows-this-key") as client:
        with pytest.raises(openai.AuthenticationError) as unknown:
            client.models.list()
    assert unknown.value.code == "invalid_api_key"
    with here.house.openai() as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="nothing", messages=[{"role": "user", "content": "Hi"}])
        with pytest.raises(openai.BadRequestError) as empty:
            client.chat.completions.create(model="m", messages=[])
        with pytest.raises(openai.BadRequestError) as no_input:
            client.embeddings.create(model="m", input=[])
    assert missing.value.code == "model_not_found"
    assert empty.value.param == "messages"
    assert no_input.value.param == "input"
    assert here.upstream.visits == []


@pytest.mark.req("CHAT-E2E-001")
def test_the_credential_may_come_under_any_of_four_names(here: Place) -> None:
    with here.house.wire() as wire:
        for line in ("authorization: bEaReR {}", "x-api-key: {}", "api-key: {}", "x-goog-api-key: {}"):
            answer = wire.ask("/v1/models", method="GET", extra=line.format(ADMIN_KEY) + "\r\n")
            assert answer.status == 200
        assert wire.ask("/v1/models", method="GET").status == 401


@pytest.mark.req("CHAT-E2E-009")
def test_a_stream_that_the_client_closes_is_cancelled_upstream(here: Place) -> None:
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event(chunk({"content": "a"}))
        await gate.passed(visit)

    here.upstream.scripts["m"] = script
    with here.house.openai() as client:
        stream = client.chat.completions.create(**asked(stream=True))
        assert next(stream).choices[0].delta.content == "a"
        stream.close()
        assert here.upstream.visit().left.wait(1.0)
