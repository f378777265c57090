"""Scopes of keys over real sockets: on every route that there is, in the words of its dialect."""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from posthouse.core.requests import SCOPE_OF, SCOPES, Operation
from tests.e2e.answers import answers, asked, completion
from tests.e2e.billable import script
from tests.e2e.house import ADMIN_KEY, PRICE, Place, provider, running
from tests.e2e.test_billing_matrix import BASES, FREE, NAMING, ROUTES
from tests.e2e.test_websocket import error_code, opened, whole
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Response, request

# What costs nothing and is asked by POST, beside the routes of the matrix.
_SAID: Final = [{"role": "user", "content": "Hi"}]
_COUNTED: Final[dict[str, tuple[Operation, dict[str, Any]]]] = {
    "/responses/input_tokens": ("responses", {"model": "m-main-tokens", "input": "Hi"}),
    "/messages/count_tokens": ("messages", {"model": "m-main-tokens", "messages": _SAID}),
}
_VERBS: Final[dict[str, tuple[Operation, dict[str, Any]]]] = {
    "countTokens": ("generate_content", {"contents": [{"parts": [{"text": "Hi"}]}]}),
    "embedContent": ("embeddings", {"content": {"parts": [{"text": "Hi"}]}}),
    "batchEmbedContents": ("embeddings", {"requests": [{"content": {"parts": [{"text": "Hi"}]}}]}),
}
_MODEL: Final = "m-main-tokens"


class Ask(NamedTuple):
    """A request to a path that the door knows as `known`."""

    known: str
    path: str
    operation: Operation
    whole: bytes


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Upstream() as upstream:
        config = ""
        for name, more in {route.account[0]: route.account[1] for route in ROUTES}.items():
            config += provider(upstream.base_url, f'"m-{name}-tokens"', more, name=name)
            config += f'[[prices]]\nmodel = "m-{name}-tokens"\ncurrency = "USD"\ninput = "1"\noutput = "10"\n'
        config += provider(upstream.base_url, f'"{_MODEL}"') + PRICE
        with running(tmp_path_factory.mktemp("house"), config) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {}


def asks(known: list[str]) -> Iterator[Ask]:
    """A request for every way there is to every route."""
    for route in ROUTES:
        sent = route.ask(route.account[0], f"m-{route.account[0]}-tokens")
        path = sent.split(b" ")[1].decode().partition("?")[0]
        if path.startswith("/v1beta/models/"):
            other = "/v1" + path.removeprefix("/v1beta")
            yield Ask("/v1beta/models/*", path, route.operation, sent)
            yield Ask("/v1/models/*", other, route.operation, _moved(sent, path, other))
        elif path.startswith("/providers/"):
            yield Ask("/providers/*", path, route.operation, sent)
        else:
            for there, other in _addresses(path, known):
                yield Ask(there, other, route.operation, _moved(sent, path, other))
    for suffix, (operation, body) in _COUNTED.items():
        for path in {base + suffix for base in BASES} & set(known):
            yield Ask(path, path, operation, request(path, body, ADMIN_KEY))
    for verb, (operation, body) in _VERBS.items():
        for base in ("/v1beta", "/v1"):
            path = f"{base}/models/{_MODEL}:{verb}"
            yield Ask(f"{base}/models/*", path, operation, request(path, body, ADMIN_KEY))
    for method in ("GET", "PUT", "DELETE"):
        path = "/providers/passing/v1/files"
        yield Ask("/providers/*", path, "passthrough", request(path, b"", ADMIN_KEY, method))


def _addresses(path: str, known: list[str]) -> Iterator[tuple[str, str]]:
    """Where a route of `/v1/...` is as well, each as the door knows it and as it is asked."""
    suffix = path.removeprefix("/v1")
    for base in BASES:
        if base + suffix in known:
            yield base + suffix, base + suffix
    if f"/openai{suffix}" in known:
        for prefix in NAMING - {"/v1/models/*"}:
            yield prefix, f"{prefix[:-1]}{_MODEL}{suffix}"


def _moved(sent: bytes, path: str, other: str) -> bytes:
    assert sent.count(path.encode()) == 1, sent
    return sent.replace(path.encode(), other.encode())


def ask(here: Place, one: Ask, key: str) -> Response:
    assert one.whole.count(ADMIN_KEY.encode()) == 1
    with here.house.wire() as wire:
        wire.send(one.whole.replace(ADMIN_KEY.encode(), key.encode()))
        return wire.response()


def code_of(path: str, body: dict[str, Any]) -> str:
    """As the dialect of the path spells it."""
    error = body["error"]
    if "/messages" in path:
        assert (body["type"], error["type"]) == ("error", "permission_error")
        return str(error["details"]["error_code"])
    if ":" in path:
        assert (error["code"], error["status"]) == (403, "PERMISSION_DENIED")
        return str(error["details"][0]["reason"]).lower()
    assert error["type"] == "permission_error"
    return str(error["code"])


@pytest.mark.req("ACCT-E2E-002")
def test_a_key_without_the_scope_is_refused_on_every_route_and_nobody_is_asked(here: Place) -> None:
    keys = {scope: here.house.new_key(scopes=[other for other in SCOPES if other != scope]) for scope in SCOPES}
    tried = set()
    for one in asks(here.house.house.door.paths()):
        tried.add(one.known)
        scope = SCOPE_OF[one.operation]
        answer = ask(here, one, keys[scope])
        assert answer.status == 403, (one.path, answer)
        assert code_of(one.path, answer.json) == "scope_not_allowed", one.path
        assert repr(scope) in answer.json["error"]["message"]
    assert here.upstream.visits == []
    with here.house.wire() as wire:
        known = here.house.house.door.paths()
        posted = {path for path in known if wire.ask(path, {}).status == 401} - {"/admin/*"}  # that want a key
    assert {path for path in posted if path.endswith(FREE)} <= tried
    assert tried == posted


def test_a_key_with_the_one_scope_passes_on_every_route_of_it(here: Place) -> None:
    keys = {scope: here.house.new_key(scopes=[scope]) for scope in SCOPES}
    for route in ROUTES:
        here.upstream.scripts["*"] = script(route.answer("given"), "ends", here.upstream.gate())
        sent = route.ask(route.account[0], f"m-{route.account[0]}-tokens")
        answer = ask(here, Ask("", "", route.operation, sent), keys[SCOPE_OF[route.operation]])
        assert answer.status == 200, (route.name, answer)


def test_lists_of_models_are_open_to_every_scope(here: Place) -> None:
    key = here.house.new_key(scopes=["rerank"])
    with here.house.wire() as wire:
        for path in ("/v1/models", f"/v1/models/{_MODEL}", "/v1/engines", "/v1beta/models"):
            assert wire.ask(path, b"", key, "GET").status == 200, path


def test_a_websocket_tells_of_a_scope_that_is_missing_and_stays(here: Place) -> None:
    key = here.house.new_key(scopes=["images"])
    with opened(here.house.port, key=key) as client:
        for _ in range(2):
            client.send(json.dumps(asked(model=_MODEL)))
            assert error_code(whole(client)) == "scope_not_allowed"
    assert here.upstream.visits == []


@pytest.mark.req("ACCT-E2E-002")
def test_scopes_hold_as_soon_as_they_are_set_and_a_refusal_is_recorded_without_a_hold(here: Place) -> None:
    account = here.house.admin("POST", "/accounts", {"name": "scoped"})["id"]
    key = here.house.new_key(account=account)
    here.upstream.scripts["*"] = answers(completion())
    with here.house.wire() as wire:
        assert wire.ask("/v1/chat/completions", asked(model=_MODEL), key).status == 200
        here.house.admin("PATCH", f"/accounts/{account}", {"scopes": ["embeddings"]})
        before = here.house.last_id()
        assert wire.ask("/v1/chat/completions", asked(model=_MODEL), key).error["code"] == "scope_not_allowed"
        stored = here.house.only_since(before)
        assert (stored.record["status"], stored.record["error_code"], stored.hold) == (403, "scope_not_allowed", None)
        here.house.admin("PATCH", f"/accounts/{account}", {"scopes": None})
        assert wire.ask("/v1/chat/completions", asked(model=_MODEL), key).status == 200


def test_an_answer_that_was_kept_is_not_told_to_a_key_that_may_not_ask_for_it(here: Place) -> None:
    made = here.house.admin("POST", "/keys", {"name": "kept", "scopes": ["chat"]})
    here.upstream.scripts["*"] = answers(completion())
    once = "idempotency-key: scoped-1\r\n"
    with here.house.wire() as wire:
        statuses = []
        for scopes in (["chat"], ["chat"], ["embeddings"], None):
            here.house.admin("PATCH", f"/keys/{made['id']}", {"scopes": scopes})
            statuses.append(wire.ask("/v1/chat/completions", asked(model=_MODEL), made["key"], extra=once).status)
    assert statuses == [200, 200, 403, 200]
    assert len(here.upstream.visits) == 2
