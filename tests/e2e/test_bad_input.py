"""Bad keys, bodies, routes and methods: each is a 4xx in OpenAI's shape that names what is wrong, on every model route,
with and without /v1, and the connection goes on as if nothing had been."""

import logging
from collections.abc import Iterator
from typing import Final

import pytest

from tests.e2e.answers import answers, asked, completion
from tests.e2e.house import ADMIN_KEY, Place, place
from tests.e2e.wire import refused

CHAT: Final = "/v1/chat/completions"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house")) as made:
        yield made
        made.house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After every test nothing was logged as a fault of ours."""
    here.upstream.forget()
    here.upstream.scripts = {"*": answers(completion())}
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


# --- keys ------------------------------------------------------------------------------------------------------------
@pytest.mark.req("CHAT-E2E-011")
@pytest.mark.parametrize(
    "line",
    [
        "authorization: Bearer ' OR '1'='1",
        "authorization: Bearer sk-ph-\xff\xfe",
        "authorization: Bearer " + "a" * 10_000,
        "authorization: Bearer",
        "authorization: Basic dXNlcjpwYXNz",
        "authorization: Bearer %00",
        "x-api-key: ${jndi:ldap://x}",
        "x-nothing: 1",
    ],
)
def test_a_key_that_nobody_knows_is_a_401_and_the_connection_goes_on(here: Place, line: str) -> None:
    with here.house.wire() as wire:
        for path in (CHAT, "/chat/completions", "/v1/embeddings", "/v1/models"):
            method = "GET" if path.endswith("models") else "POST"
            answer = refused(wire.ask(path, b"{}" if method == "POST" else b"", method=method, extra=line + "\r\n"))
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
            assert "OR '1'" not in answer.error["message"]
        assert wire.ask(CHAT, asked(), ADMIN_KEY).status == 200


# --- bodies ----------------------------------------------------------------------------------------------------------
BODIES: Final[dict[str, tuple[bytes, str | None]]] = {
    "empty": (b"", None),
    "not JSON": (b"hello", None),
    "cut off": (b'{"model": "m", "messages": [', None),
    "an array": (b"[1, 2]", None),
    "a string": (b'"model"', None),
    "two objects": (b'{"model":"m"} {"model":"m"}', None),
    "NaN": (b'{"model": "m", "temperature": NaN}', None),
    "invalid UTF-8": (b'{"model": "m", "user": "\xff\xfe"}', None),
    "half a surrogate": (b'{"model": "\\ud800"}', None),
    "nested a million deep": (b'{"model": "m", "messages": ' + b"[" * 1_000_000, None),
    "nested and closed": (b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    "gzip": (b"\x1f\x8b\x08\x00" + b"\x00" * 32, None),
    "no model": (b'{"messages": [{"role": "user", "content": "x"}], "input": "x"}', "model"),
    "a model that is a number": (b'{"model": 7}', "model"),
    "a model that is null": (b'{"model": null}', "model"),
    "a model with NUL": (b'{"model": "m\\u0000"}', "model"),
    "an endless model": (b'{"model": "' + b"m" * 100_000 + b'"}', "model"),
}
OF_CHATS: Final[dict[str, tuple[bytes, str | None]]] = {
    "no messages": (b'{"model": "m"}', "messages"),
    "empty messages": (b'{"model": "m", "messages": []}', "messages"),
    "messages in words": (b'{"model": "m", "messages": "hello"}', "messages"),
    "a message without a role": (b'{"model": "m", "messages": [{"role": "user"}, {}]}', "messages[1].role"),
    "stream in words": (b'{"model":"m","messages":[{"role":"user"}],"stream":"yes"}', "stream"),
    "negative tokens": (b'{"model":"m","messages":[{"role":"user"}],"max_tokens":-1}', "max_tokens"),
    "too many choices": (b'{"model":"m","messages":[{"role":"user"}],"n":1000000}', "n"),
    "a huge number": (b'{"model":"m","messages":[{"role":"user"}],"max_tokens":' + b"9" * 5000 + b"}", "max_tokens"),
}
OF_EMBEDDINGS: Final[dict[str, tuple[bytes, str | None]]] = {
    "no input": (b'{"model": "m"}', "input"),
    "empty input": (b'{"model": "m", "input": []}', "input"),
    "mixed input": (b'{"model": "m", "input": ["a", 1]}', "input"),
    "an object": (b'{"model": "m", "input": {}}', "input"),
}
CASES: Final = [
    *(("chat/completions", name, body) for name, body in (BODIES | OF_CHATS).items()),
    *(("embeddings", name, body) for name, body in (BODIES | OF_EMBEDDINGS).items()),
]


@pytest.mark.req("CHAT-E2E-011")
@pytest.mark.parametrize(("route", "body"), [(r, b) for r, _, b in CASES], ids=[f"{r}-{n}" for r, n, _ in CASES])
def test_bad_input_is_a_400_that_names_the_field_and_the_connection_goes_on(
    here: Place, route: str, body: tuple[bytes, str | None]
) -> None:
    data, param = body
    with here.house.wire() as wire:
        for base in ("/v1", ""):
            answer = refused(wire.ask(f"{base}/{route}", data, ADMIN_KEY))
            assert (answer.status, answer.error["param"]) == (400, param)
            assert answer.error["type"] == "invalid_request_error"
            assert len(answer.error["message"]) < 500
        assert wire.ask(CHAT, asked(), ADMIN_KEY).status == 200
    assert len(here.upstream.visits) == 1


@pytest.mark.req("CHAT-E2E-011")
@pytest.mark.parametrize("model", ["no-such-model", "../../etc/passwd", "m' OR '1'='1", "m\n", "模型", "main/none"])
def test_an_unknown_model_is_a_404_or_names_the_field(here: Place, model: str) -> None:
    with here.house.wire() as wire:
        for path, body in ((CHAT, asked(model)), ("/embeddings", {"model": model, "input": "x"})):
            answer = refused(wire.ask(path, body, ADMIN_KEY))
            assert answer.error["param"] == "model"
            assert answer.status == (400 if model == "m\n" else 404)


# --- routes and methods ----------------------------------------------------------------------------------------------
@pytest.mark.req("CHAT-E2E-011")
def test_an_unknown_route_is_a_404(here: Place) -> None:
    paths = ("/v1/nothing", "/v2/models", "/v1", "//", "/v1/chat/completions/", "/v1/../admin", "/%00", "/v1/models/")
    with here.house.wire() as wire:
        for path in (*paths, "/wp-login.php?key=secret", "http://elsewhere.example/v1/nothing"):
            answer = refused(wire.ask(path, b"", ADMIN_KEY, method="GET"))
            assert answer.status == 404
            assert "secret" not in answer.error["message"]


@pytest.mark.req("CHAT-E2E-011")
def test_a_method_that_a_route_does_not_have_is_a_405(here: Place) -> None:
    with here.house.wire() as wire:
        for method, path in (
            ("GET", CHAT),
            ("DELETE", CHAT),
            ("PUT", "/v1/embeddings"),
            ("POST", "/v1/models"),
            ("PATCH", "/v1/models/m"),
            ("TRACE", "/v1/models"),
            ("POST", "/healthz"),
            ("PROPFIND", "/"),
        ):
            answer = refused(wire.ask(path, b"", ADMIN_KEY, method=method))
            assert answer.status == 405
        head = wire.ask(CHAT, b"", ADMIN_KEY, method="HEAD")
        assert (head.status, head.body) == (405, b"")
        assert wire.ask("/healthz", method="GET").json == {"status": "ok"}


def test_head_answers_as_get_does_without_a_body(here: Place) -> None:
    with here.house.wire() as wire:
        for path in ("/healthz", "/v1/models", "/v1/models/m"):
            got = wire.ask(path, b"", ADMIN_KEY, method="GET")
            head = wire.ask(path, b"", ADMIN_KEY, method="HEAD")
            assert (head.status, head.body) == (200, b"")
            assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.body))
