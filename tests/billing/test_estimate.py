"""Estimates of tokens and of what a call may cost."""

import base64
import json
from typing import Any

import msgspec
import pytest

from posthouse.billing.estimate import IMAGE_TOKENS, TokenCounter, reserve_of, rough_input_tokens
from posthouse.billing.model import Price, Tier, rates_of
from posthouse.billing.prompt import count_request
from posthouse.billing.vocabulary import SplintrVocabulary, Vocabularies
from posthouse.core.money import Money
from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Addressed
from posthouse.dialects.codecs import codec_of
from tests.billing.samples import DENSE, PROSE

VOCABULARIES = ("o200k_base", "cl100k_base", "qwen3", "deepseek_v3")


def request_of(body: dict[str, Any], operation: Operation = "chat.completions") -> ModelRequest:
    data = json.dumps({"model": "m"} | body, ensure_ascii=False, separators=(",", ":")).encode()
    fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    return ModelRequest(operation, "openai_chat", "m", fields, len(data))


def said(content: Any) -> ModelRequest:
    return request_of({"messages": [{"role": "user", "content": content}]})


def file_part(kind: str, data: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": f"data:{kind};base64,{data}"}}


def embedding(value: Any) -> ModelRequest:
    return request_of({"input": value}, "embeddings")


@pytest.fixture(scope="module")
def vocabularies() -> dict[str, SplintrVocabulary]:
    return {name: SplintrVocabulary(name) for name in VOCABULARIES}


@pytest.mark.parametrize("kind", PROSE)
def test_prose_and_code_are_estimated_within_five_percent_below_and_two_and_a_half_times_above(
    kind: str, vocabularies: dict[str, SplintrVocabulary]
) -> None:
    request = said(PROSE[kind] * 12)
    rough = rough_input_tokens(request)
    for name, vocabulary in vocabularies.items():
        real = count_request(request, vocabulary)
        assert 0.95 * real <= rough <= 2.5 * real, name


@pytest.mark.parametrize("kind", DENSE)
def test_dense_text_is_estimated_at_no_less_than_four_tenths(
    kind: str, vocabularies: dict[str, SplintrVocabulary]
) -> None:
    request = said(DENSE[kind] * 40)
    rough = rough_input_tokens(request)
    for name, vocabulary in vocabularies.items():
        assert rough >= 0.4 * count_request(request, vocabulary), name


def test_a_picture_in_a_body_is_not_counted_as_text() -> None:
    picture = base64.b64encode(bytes(range(256)) * 4000).decode()
    parts = [
        {"type": "text", "text": "what is this?" * 10},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}},
    ]
    assert 2 * IMAGE_TOKENS < rough_input_tokens(said(parts)) < 2 * IMAGE_TOKENS + 5000


def test_a_picture_by_address_is_counted_as_one() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.png"}}
    assert IMAGE_TOKENS < rough_input_tokens(said([part])) < IMAGE_TOKENS + 100


def test_sound_and_documents_in_base64_count_by_their_kind() -> None:
    data = base64.b64encode(bytes(range(256)) * 1000).decode()
    sound = rough_input_tokens(said([{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]))
    document = rough_input_tokens(said([file_part("application/pdf", data)]))
    text = rough_input_tokens(said([file_part("text/plain", data)]))
    assert sound < document < text < len(data) * 2 // 5


def test_base64_that_is_merely_text_counts_as_text() -> None:
    data = base64.b64encode(bytes(range(256)) * 1000).decode()
    assert rough_input_tokens(said(data)) > len(data) * 2 // 5


def test_text_around_a_picture_still_counts() -> None:
    picture = base64.b64encode(bytes(30_000)).decode()
    text = "word " * 40_000
    parts = [
        {"type": "text", "text": text},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "text", "text": text},
    ]
    assert rough_input_tokens(said(parts)) > 2 * len(text) * 2 // 5


@pytest.mark.parametrize(
    ("value", "expected"),
    [([1, 22, 333], 3), ([[1, 2], [3, 4, 5]], 5), ("hello there", 6), (["hello", "there"], 7)],
)
def test_embedding_input_is_estimated_by_its_form(value: Any, expected: int) -> None:
    assert rough_input_tokens(embedding(value)) == expected


def test_a_reserve_covers_the_dearest_reading_of_the_estimate() -> None:
    rates = rates_of({"input": 10**6, "cache_write": 2 * 10**6, "output": 3 * 10**6, "reasoning": 5 * 10**6})
    price = Price("USD", "test", "m", rates, (Tier(1000, rates_of({"input": 10**7})),), per_request=1)
    assert reserve_of(price, 100, 10) == Money(1 + 200 + 50, "USD")
    assert reserve_of(price, 1001, 10) == Money(1 + 10010 + 100, "USD")
    usage = Usage(input=40, cache_write=60, output=4, reasoning=6)
    assert price.cost(usage) <= reserve_of(price, 100, 10).nano


def test_a_chat_is_counted_by_the_recipe(vocabularies: dict[str, SplintrVocabulary]) -> None:
    # The worked example of OpenAI's cookbook for counting chat messages: 129 tokens by the API with cl100k and names.
    messages = [
        {
            "role": "system",
            "content": (
                "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."
            ),
        },
        {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Things working well together will increase revenue.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": (
                "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."
            ),
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Let's talk later when we're less busy about how to do better.",
        },
        {
            "role": "user",
            "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
        },
    ]
    assert count_request(request_of({"messages": messages}), vocabularies["cl100k_base"]) == 129


def test_parts_tools_and_calls_are_counted(vocabularies: dict[str, SplintrVocabulary]) -> None:
    count = vocabularies["o200k_base"].count
    words = said([{"type": "text", "text": "hello there"}])
    assert count_request(words, vocabularies["o200k_base"]) == 3 + 3 + count("user") + count("hello there")
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    request = request_of(
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}], "tools": tools, "functions": None}
    )
    expected = 6 + count("assistant") + count("weather") + count('{"city":"Paris"}')
    expected += count(json.dumps(tools, separators=(",", ":")))
    assert count_request(request, vocabularies["o200k_base"]) == expected


def test_media_are_not_counted_letter_by_letter(vocabularies: dict[str, SplintrVocabulary]) -> None:
    data = "A" * 100_000
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"}},
        {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{data}"}},
    ]
    counted = count_request(said(parts), vocabularies["o200k_base"])
    assert 1_000 < counted < 1_200


@pytest.mark.parametrize(
    "messages", ["text", 7, None, [], [3, "x", None, {"role": 1}], [{"content": [[[[[[[[[["deep"]]]]]]]]]]}]]
)
def test_odd_messages_are_counted_without_an_error(messages: Any, vocabularies: dict[str, SplintrVocabulary]) -> None:
    assert count_request(request_of({"messages": messages}), vocabularies["o200k_base"]) >= 3
    assert rough_input_tokens(request_of({"messages": messages})) > 0


@pytest.mark.parametrize("odd", [b"1e400", b'"\\ud800"', b"[" * 5_000 + b"]" * 5_000, b'"\xff"'])
def test_json_that_cannot_be_held_is_counted_as_text(odd: bytes, vocabularies: dict[str, SplintrVocabulary]) -> None:
    body = b'[{"role":"user","content":"hello","x":' + odd + b"}]"
    request = ModelRequest("chat.completions", "openai_chat", "m", {"messages": msgspec.Raw(body)}, len(body))
    assert count_request(request, vocabularies["o200k_base"]) > 10


@pytest.mark.parametrize(
    ("value", "expected"),
    [([1, 22, 333], 3), ([[1, 2], [3]], 3), ("hello there", 2), (["hello", "there"], 2), (None, 0)],
)
def test_embedding_input_is_counted(value: Any, expected: int, vocabularies: dict[str, SplintrVocabulary]) -> None:
    assert count_request(embedding(value), vocabularies["cl100k_base"]) == expected


# The same question with a picture of 300 KB, as each dialect asks it.
PICTURE = base64.b64encode(bytes(range(256)) * 900).decode()
ASKED: dict[Operation, dict[str, Any]] = {
    "responses": {
        "instructions": "Be brief.",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "what is this?"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": PICTURE},
        ],
    },
    "messages": {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
                ],
            },
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": PICTURE}]},
        ],
    },
    "generate_content": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {
                "role": "user",
                "parts": [{"text": "what is this?"}, {"inlineData": {"mimeType": "image/png", "data": PICTURE}}],
            },
            {"role": "model", "parts": [{"text": "", "thoughtSignature": PICTURE}]},
        ],
    },
}


@pytest.mark.parametrize("operation", ASKED)
def test_every_dialect_is_counted_by_the_same_recipe(
    operation: Operation, vocabularies: dict[str, SplintrVocabulary]
) -> None:
    vocabulary = vocabularies["o200k_base"]
    texts = sum(vocabulary.count(text) for text in ("Be brief.", "what is this?", "user"))
    counted = count_request(request_of(ASKED[operation], operation), vocabulary)
    assert 1_000 + texts + 9 <= counted <= 1_000 + texts + 20


@pytest.mark.parametrize("operation", ASKED)
def test_a_picture_is_estimated_as_one_in_every_dialect(operation: Operation) -> None:
    small = msgspec.json.decode(json.dumps(ASKED[operation]).replace(PICTURE, ""))  # is read another way
    assert IMAGE_TOKENS < rough_input_tokens(request_of(small, operation)) < IMAGE_TOKENS + 300
    large = msgspec.json.decode(json.dumps(ASKED[operation]).replace(f': "{PICTURE}"}}]}}', ': ""}]}'))
    assert IMAGE_TOKENS < rough_input_tokens(request_of(large, operation)) < IMAGE_TOKENS + 300


def test_audio_documents_and_text_beside_their_type_count_by_their_kind() -> None:
    data = base64.b64encode(bytes(range(256)) * 1000).decode()

    def rough(kind: str) -> int:
        source = {"type": "base64", "media_type": kind, "data": data}
        content = [{"type": "document", "source": source}]
        return rough_input_tokens(request_of({"messages": [{"role": "user", "content": content}]}, "messages"))

    assert rough("audio/wav") < rough("application/pdf") < rough("text/plain") < len(data) * 2 // 5


@pytest.mark.parametrize(
    ("prompt", "rough", "counted"), [("hello there", 6, 2), ([1, 22, 333], 3, 3), (["hello", "there"], 7, 2)]
)
def test_a_prompt_is_counted_as_text_or_tokens(
    prompt: Any, rough: int, counted: int, vocabularies: dict[str, SplintrVocabulary]
) -> None:
    request = request_of({"prompt": prompt}, "completions")
    assert (rough_input_tokens(request), count_request(request, vocabularies["cl100k_base"])) == (rough, counted)


@pytest.mark.parametrize("operation", ASKED)
def test_a_request_in_the_inner_form_is_counted_as_it_was_before(
    operation: Operation, vocabularies: dict[str, SplintrVocabulary]
) -> None:
    vocabulary = vocabularies["o200k_base"]
    request = request_of(ASKED[operation] | {"max_tokens": 9}, operation)
    inner = codec_of(operation).decode_request(msgspec.json.encode(request.fields), Addressed("m"))
    counted = count_request(request, vocabulary)
    again = count_request(ModelRequest(operation, "any", "m", {}, 0, inner=inner), vocabulary)
    assert abs(counted - again) <= 8


class Words:
    """A vocabulary in which every word is a token; remembers which were loaded."""

    loaded: list[str]

    def __init__(self, name: str) -> None:
        self.name = name

    def count(self, text: str) -> int:
        return len(text.split())


async def test_the_counter_counts_off_the_loop_with_the_models_vocabulary() -> None:
    loaded: list[str] = []

    def load(name: str) -> Words:
        loaded.append(name)
        return Words(name)

    counter = TokenCounter(Vocabularies(load))
    try:
        assert loaded == []
        assert await counter.count("one two three", "deepseek-ai/DeepSeek-V3") == 3
        assert await counter.count_request(said("one two"), "deepseek-chat") == 3 + 3 + 1 + 2
        assert loaded == ["deepseek_v3"]
    finally:
        counter.close()
