"""From a deployment and a request to bytes: nothing but what the row asks for is touched."""

from typing import Any

import msgspec
import pytest

from posthouse.core.errors import ConfigError, InvalidRequest, NotFound
from posthouse.core.requests import ModelRequest
from posthouse.dialects import openai_chat_head
from posthouse.providers import azure, groq, mistral, ollama, openai, openai_compatible, openrouter
from posthouse.providers.model import Fields, Provider, deployment
from posthouse.providers.prepare import body_for, models_request, prepare, request_for
from posthouse.upstream.model import Origin
from tests.providers.asking import CREDENTIAL, account, chat, embeddings, prepared


def sent(row: Provider, request: ModelRequest) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(body_for(prepared(row), request))
    return decoded


def test_only_the_model_differs_in_a_body_that_needs_nothing_else() -> None:
    body = (
        b'{"zeta": {"b":1, "a":[1.50, null]},"model":"public-name" , "messages":[{"role":"user","content":"h\\u00e9"}],'
        b'"unknown":null,"temperature":1.0}'
    )
    assert body_for(prepared(openai.ROW), openai_chat_head.decode_head(body)) == (
        b'{"zeta":{"b":1, "a":[1.50, null]},"model":"vendor/model-1","messages":[{"role":"user","content":"h\\u00e9"}],'
        b'"unknown":null,"temperature":1.0}'
    )


def test_the_request_itself_is_not_changed_so_that_another_deployment_can_be_tried() -> None:
    request = chat(stream=True, max_completion_tokens=5)
    before = {name: bytes(value) for name, value in request.fields.items()}
    body_for(prepared(mistral.ROW), request)
    assert {name: bytes(value) for name, value in request.fields.items()} == before


def test_usage_is_asked_for_on_a_stream_and_obfuscation_refused() -> None:
    assert sent(openai.ROW, chat(stream=True))["stream_options"] == {
        "include_usage": True,
        "include_obfuscation": False,
    }


def test_usage_is_not_asked_for_where_nothing_streams() -> None:
    assert "stream_options" not in sent(openai.ROW, chat())


@pytest.mark.parametrize("given", [None, {}, {"include_usage": False}, {"include_usage": None}])
def test_usage_is_asked_for_whatever_the_client_said_of_it(given: object) -> None:
    assert sent(openai_compatible.ROW, chat(stream=True, stream_options=given))["stream_options"] == {
        "include_usage": True
    }


def test_other_stream_options_of_the_client_stay() -> None:
    options = sent(openai.ROW, chat(stream=True, stream_options={"include_obfuscation": True, "new": [1]}))
    assert options["stream_options"] == {"include_obfuscation": True, "new": [1], "include_usage": True}


def test_stream_options_that_are_no_object_are_the_clients_error() -> None:
    request = chat(stream=True)
    request.fields["stream_options"] = msgspec.Raw(b"[1]")
    with pytest.raises(InvalidRequest) as caught:
        body_for(prepared(openai.ROW), request)
    assert caught.value.param == "stream_options"


def test_a_vendor_that_sends_usage_always_is_not_asked() -> None:
    assert "stream_options" not in sent(openrouter.ROW, chat(stream=True))


def test_members_are_renamed_in_their_place_and_the_renamed_value_wins() -> None:
    body = sent(ollama.ROW, chat(max_completion_tokens=7, max_tokens=3, top_p=1))
    assert body["max_tokens"] == 7
    assert "max_completion_tokens" not in body


def test_members_that_the_vendor_refuses_are_dropped() -> None:
    body = sent(mistral.ROW, chat(stream=True, stream_options={"include_usage": True}, seed=1, store=True, user="u"))
    assert list(body) == ["model", "messages", "stream", "random_seed"]


def test_a_row_may_change_what_no_rule_covers() -> None:
    def quirk(fields: Fields, request: ModelRequest) -> Fields:
        fields["size"] = msgspec.Raw(str(request.choices).encode())
        return fields

    row = msgspec.structs.replace(openai_compatible.ROW, prepare=quirk)
    assert sent(row, chat(n=2))["size"] == 2


def test_an_embedding_request_is_sent_to_its_own_path_and_knows_no_stream_options() -> None:
    ready = prepared(openai.ROW, "embeddings")
    assert ready.target == b"/v1/embeddings"
    assert msgspec.json.decode(body_for(ready, embeddings())) == {"model": "vendor/model-1", "input": "text"}


def test_a_request_carries_origin_path_and_credential() -> None:
    request = request_for(prepared(openai.ROW), chat(), deadline=7.0)
    assert request.origin == Origin("https", "api.openai.com", 443)
    assert (request.method, request.target, request.deadline) == (b"POST", b"/v1/chat/completions", 7.0)
    assert b"authorization: Bearer upstream-credential-1\r\n" in request.headers
    assert request.pool == "main/public-name"


def test_a_credential_is_optional_where_the_row_says_so() -> None:
    assert b"authorization" not in prepared(ollama.ROW).headers
    assert b"authorization: Bearer k-1\r\n" in prepared(ollama.ROW, credential="k-1").headers


def test_a_missing_credential_is_the_operators_error() -> None:
    with pytest.raises(ConfigError, match="needs a credential"):
        prepared(openai.ROW, credential=None)


def test_the_operators_own_headers_are_sent_and_replace_ours() -> None:
    headers = prepared(openai.ROW, headers=(("X-Own", "1"), ("Authorization", "Token t"))).headers
    assert b"x-own: 1\r\n" in headers
    assert headers.count(b"authorization") == 1
    assert CREDENTIAL.encode() not in headers


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "käse", "a\x00b"])
def test_a_header_cannot_be_smuggled_in_and_the_message_does_not_show_the_credential(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prepared(openai.ROW, credential=value)
    assert value not in caught.value.message


@pytest.mark.parametrize("url", ["ftp://host/v1", "http://", "http://host:port/v1", "https://u:p@host/v1", "host/v1"])
def test_a_base_url_that_is_none_is_the_operators_error(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        prepared(openai.ROW, base_url=url)


def test_a_base_url_may_end_in_a_slash_and_name_a_port_or_an_ipv6_address() -> None:
    ready = prepared(openai_compatible.ROW, base_url="http://[::1]:8001/api/v3/")
    assert ready.origin == Origin("http", "::1", 8001)
    assert ready.target == b"/api/v3/chat/completions"


@pytest.mark.parametrize(
    ("base_url", "target"),
    [
        ("https://api.groq.com", b"/openai/v1/chat/completions"),
        ("https://api.groq.com/", b"/openai/v1/chat/completions"),
        ("https://proxy.example.com/groq", b"/groq/chat/completions"),
        ("https://proxy.example.com", b"/chat/completions"),
        ("https://api.groq", b"/chat/completions"),
    ],
)
def test_the_vendors_host_without_a_path_gets_the_vendors_path(base_url: str, target: bytes) -> None:
    # The vendor's own package reads the same variable, and adds the path itself.
    assert prepared(groq.ROW, base_url=base_url).target == target


def test_an_operation_that_the_vendor_lacks_is_not_found() -> None:
    row = msgspec.structs.replace(openai.ROW, paths={"embeddings": None})
    with pytest.raises(NotFound, match="does not offer embeddings"):
        prepared(row, "embeddings")


def test_the_list_of_models_is_asked_for_with_the_same_credential() -> None:
    request = models_request(account(openai.ROW), 1.0)
    assert request is not None
    assert (request.method, request.target, request.body) == (b"GET", b"/v1/models", b"")
    assert b"Bearer upstream-credential-1" in request.headers
    assert models_request(account(msgspec.structs.replace(openai.ROW, paths={"models": None})), 1.0) is None


@pytest.mark.parametrize(
    ("base_url", "api_version", "target"),
    [
        ("https://r.openai.azure.com", None, b"/openai/v1/chat/completions"),
        ("https://r.openai.azure.com/openai/v1/", None, b"/openai/v1/chat/completions"),
        ("https://r.services.ai.azure.com", "preview", b"/openai/v1/chat/completions?api-version=preview"),
        (
            "https://r.openai.azure.com/",
            "2024-10-21",
            b"/openai/deployments/my%2Fdep/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_azure_has_two_shapes(base_url: str, api_version: str | None, target: bytes) -> None:
    where = account(azure.ROW, base_url=base_url, api_version=api_version)
    ready = prepare(deployment(where, "public-name", "my/dep"), "chat.completions")
    assert ready.target == target
    assert b"api-key: upstream-credential-1\r\n" in ready.headers
    assert b"authorization" not in ready.headers
    assert models_request(where, 1.0) is None


def test_nothing_that_is_printed_shows_the_credential() -> None:
    ready = prepared(openai.ROW)
    assert CREDENTIAL not in f"{ready!r} {ready.deployment!r} {ready.deployment.account!r}"
