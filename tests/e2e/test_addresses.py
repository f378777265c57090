"""Addresses and heads as clients write them: every base of every client, the form that proxies are asked in, and errors
that are told before a request has a route, in the shape of the dialect whose address was asked."""

import gzip
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from openai import AzureOpenAI, DefaultHttpxClient

from tests.e2e.answers import asked
from tests.e2e.house import ADMIN_KEY, RunningHouse, running
from tests.e2e.wire import Response, Wire, request

ECHO: Final = '[[providers]]\nname = "here"\ntype = "echo"\n'
CHAT: Final = "/v1/chat/completions"
MESSAGES: Final = "/v1/messages"
GENERATE: Final = "/v1beta/models/echo:generateContent"
HEAD_LIMIT: Final = 16_384


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    limit = {"POSTHOUSE_SERVER_HEADER_LIMIT": str(HEAD_LIMIT)}
    with running(tmp_path_factory.mktemp("house"), ECHO, limit) as made:
        yield made


@pytest.fixture
def wire(house: RunningHouse) -> Iterator[Wire]:
    with house.wire() as made:
        yield made


def dialect_of(answer: Response) -> str:
    """By the members of an error."""
    error: dict[str, Any] = answer.json["error"]
    if "status" in error:
        return "gemini"
    return "anthropic" if answer.json.get("type") == "error" else "openai"


EARLY: Final = {
    413: f"authorization: Bearer {ADMIN_KEY}\r\ncontent-length: 99999999\r\n\r\n",
    431: f"x-long: {'a' * HEAD_LIMIT}\r\n\r\n",
    400: "host: another\r\nhost: b/c\r\n\r\n",
}


@pytest.mark.parametrize("status", EARLY)
@pytest.mark.parametrize(
    ("path", "dialect"), [(CHAT, "openai"), (MESSAGES, "anthropic"), (GENERATE, "gemini"), ("/", "openai")]
)
def test_what_is_refused_by_its_head_is_told_in_the_dialect_of_its_address(
    wire: Wire, path: str, dialect: str, status: int
) -> None:
    wire.send(f"POST {path} HTTP/1.1\r\nhost: house\r\n{EARLY[status]}".encode())
    answer = wire.response()
    assert (answer.status, dialect_of(answer)) == (status, dialect)


@pytest.mark.parametrize(
    ("method", "path", "dialect"),
    [
        ("POST", "/v1/models/nobody:generateContent", "gemini"),
        ("POST", f"/v1/models/nobody:generateContent?key={ADMIN_KEY}", "gemini"),
        ("GET", "/v1/models/nobody", "openai"),
        ("POST", "/anthropic/v1/complete", "anthropic"),
        ("GET", "/anthropic/v1/files", "anthropic"),
        ("GET", "/openai/files", "openai"),
    ],
)
def test_every_address_has_its_dialect_whatever_header_holds_the_key(
    wire: Wire, method: str, path: str, dialect: str
) -> None:
    answer = wire.ask(path, {"contents": [{"parts": [{"text": "x"}]}]}, ADMIN_KEY, method)
    assert (answer.status, dialect_of(answer)) == (404, dialect)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", CHAT, "POST"), ("DELETE", "/v1/models", "GET"), ("PATCH", "/v1/models/echo", "GET, POST")],
)
def test_a_method_that_is_not_known_is_told_which_are(wire: Wire, method: str, path: str, allowed: str) -> None:
    answer = wire.ask(path, b"", ADMIN_KEY, method)
    assert answer.status == 405
    assert sorted(answer.headers["allow"].split(", ")) == allowed.split(", ")


@pytest.mark.parametrize("path", [CHAT, MESSAGES, GENERATE])
def test_a_compressed_body_is_refused_as_such(wire: Wire, path: str) -> None:
    body = gzip.compress(json.dumps(asked("echo")).encode())
    answer = wire.ask(path, body, ADMIN_KEY, extra="content-encoding: gzip\r\n")
    assert answer.status == 400
    assert "unsupported_encoding" in answer.body.decode().lower()


def test_a_body_that_is_said_not_to_be_compressed_is_welcome(wire: Wire) -> None:
    assert wire.ask(CHAT, asked("echo"), ADMIN_KEY, extra="content-encoding: identity\r\n").status == 200


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_form_in_which_proxies_are_asked_is_understood(wire: Wire, scheme: str) -> None:
    for _ in range(2):
        assert wire.ask(f"{scheme}://house{CHAT}", asked("echo"), ADMIN_KEY).status == 200
    assert wire.ask(f"{scheme}://house/v1/models?limit=1", key=ADMIN_KEY, method="GET").status == 200
    assert wire.ask(f"{scheme}://house", key=ADMIN_KEY, method="GET").headers["content-type"].startswith("text/html")
    assert wire.ask(f"{scheme}://http://house", key=ADMIN_KEY, method="GET").status == 404


@pytest.mark.parametrize("trailer", [b"x: " + b"a" * 2_000 + b"\r\n", b"a" * 2_000], ids=["many", "endless"])
def test_trailers_without_end_are_refused(wire: Wire, trailer: bytes) -> None:
    head = request("/v1/chat/completions", b"", ADMIN_KEY, extra="transfer-encoding: chunked\r\n")
    wire.send(head.replace(b"content-length: 0\r\n", b"") + b"1\r\n{\r\n0\r\n")
    for _ in range(300):  # what comes in one segment with the body may be that
        wire.send(trailer)
    assert wire.response().status == 431


def test_a_body_in_many_small_chunks_has_no_trailers_to_be_counted(wire: Wire) -> None:
    head = request("/v1/chat/completions", b"", ADMIN_KEY, extra="transfer-encoding: chunked\r\n")
    wire.send(head.replace(b"content-length: 0\r\n", b""))
    for byte in json.dumps(asked("echo")).ljust(HEAD_LIMIT // 4).encode():
        wire.send(b"1\r\n%c\r\n" % byte)
    wire.send(b"0\r\nx-key: another\r\n\r\n")
    assert wire.response().status == 200


def test_the_client_of_the_older_cloud_reaches_what_its_address_names_no_deployment_for(house: RunningHouse) -> None:
    with DefaultHttpxClient(trust_env=False) as client:
        azure = AzureOpenAI(
            azure_endpoint=house.base_url,
            api_key=ADMIN_KEY,
            api_version="2025-03-01-preview",
            max_retries=0,
            http_client=client,
        )
        assert "hello" in azure.responses.create(model="echo", input="hello").output_text
        assert azure.moderations.create(model="echo-moderation", input="hello").results[0].flagged is False
        assert "echo" in [model.id for model in azure.models.list()]
