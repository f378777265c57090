"""A key's own names and parameters, over real sockets."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.answers import answers, asked, completion
from tests.e2e.house import Place, place
from tests.e2e.upstream import Visit
from tests.e2e.wire import Response

ROUTES = """
[[routes]]
name = "smart"
models = ["m"]
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house"), ROUTES, models='"m", "other"') as made:
        made.upstream.scripts["*"] = answers(completion())
        yield made
        made.house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()


def ask(here: Place, key: str, path: str = "/v1/chat/completions", **body: Any) -> Response:
    with here.house.wire() as wire:
        return wire.ask(path, body, key)


def came(here: Place) -> Visit:
    return here.upstream.visit(0)


@pytest.mark.req("ROUTE-017")
def test_an_alias_is_the_model_that_it_means_in_permissions_prices_and_records(here: Place) -> None:
    key = here.house.new_key(aliases={"gpt-4": "smart"}, models=["smart"])
    answer = ask(here, key, **asked("gpt-4"))
    assert answer.status == 200
    assert came(here).json["model"] == "m"
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["model_asked"], record["model"], record["cost"]) == ("smart", "m", 11_000 + 70_000)
    assert ask(here, key, **asked("m")).error["code"] == "model_not_allowed"
    assert ask(here, here.house.new_key(), **asked("gpt-4")).error["code"] == "model_not_found"


@pytest.mark.req("ROUTE-017")
def test_aliases_are_among_the_models_of_their_key_alone(here: Place) -> None:
    key = here.house.new_key(aliases={"gpt-4": "smart", "gone": "nothing", "other": "m"}, models=["smart", "m"])

    def listed(secret: str) -> list[str]:
        with here.house.client(secret) as client:
            return [row["id"] for row in client.get("/v1/models").json()["data"]]

    assert listed(key) == ["gpt-4", "m", "other", "smart"]
    assert listed(here.house.new_key()) == ["m", "other", "smart"]
    with here.house.client(key) as client:
        assert client.get("/v1/models/gpt-4").json()["owned_by"] == "posthouse"


def test_defaults_reach_the_provider_unless_the_client_says_otherwise(here: Place) -> None:
    key = here.house.new_key(defaults={"temperature": 0.2, "seed": 7})
    ask(here, key, **asked(temperature=1))
    assert (came(here).json["temperature"], came(here).json["seed"]) == (1, 7)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "m", "input": "Hello"}),
        ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}),
        ("/v1/completions", {"model": "m", "prompt": "Hello"}),
        ("/v1/completions", {"model": "m", "prompt": ["Hello", "Bye"]}),
        ("/v1beta/models/mine:generateContent", {"contents": [{"parts": [{"text": "Hello"}]}]}),
    ],
)
@pytest.mark.req("ROUTE-016")
def test_defaults_and_aliases_reach_the_provider_through_every_dialect(
    here: Place, path: str, body: dict[str, Any]
) -> None:
    key = here.house.new_key(defaults={"temperature": 0.25}, aliases={"mine": "m"})
    named = {**body, "model": "mine"} if "model" in body else body
    assert ask(here, key, path, **named).status == 200
    assert (came(here).json["temperature"], came(here).json["model"]) == (0.25, "m")


@pytest.mark.req("ROUTE-016")
def test_a_default_cap_is_what_is_reserved_for(here: Place) -> None:
    capped = here.house.new_key(defaults={"max_tokens": 10})
    answer = ask(here, capped, **asked())
    held = here.house.stored(answer.headers["x-request-id"]).record["hold_amount"]
    assert 10 * 10_000 < held < 10 * 10_000 + 200_000
    assert came(here).json["max_tokens"] == 10


@pytest.mark.req("ROUTE-016")
def test_a_messages_request_may_leave_its_cap_to_its_key_and_to_nobody_else(here: Place) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    refused = ask(here, here.house.new_key(defaults={"temperature": 0.2}), "/v1/messages", **body)
    assert (refused.status, refused.json["error"]["type"]) == (400, "invalid_request_error")
    assert "max_tokens" in refused.json["error"]["message"]
    assert here.upstream.visits == []
    answer = ask(here, here.house.new_key(defaults={"max_completion_tokens": 10}), "/v1/messages", **body)
    assert answer.status == 200, answer.body
    assert 10 in (came(here).json.get("max_tokens"), came(here).json.get("max_completion_tokens"))
    held = here.house.stored(answer.headers["x-request-id"]).record["hold_amount"]
    assert 10 * 10_000 < held < 10 * 10_000 + 200_000


@pytest.mark.req("ROUTE-016")
def test_tokens_are_counted_with_what_a_key_adds_and_without_a_cap(here: Place) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    path = "/v1/messages/count_tokens"
    plain = ask(here, here.house.new_key(), path, **body).json["input_tokens"]
    more = ask(here, here.house.new_key(defaults={"system": "Be short.", "temperature": 0.5}), path, **body)
    assert more.status == 200, more.body
    assert more.json["input_tokens"] > plain


@pytest.mark.req("ROUTE-016")
def test_a_default_cap_is_what_is_reserved_for_in_generate_content_too(here: Place) -> None:
    capped = here.house.new_key(defaults={"max_tokens": 10})
    path = "/v1beta/models/m:streamGenerateContent?alt=sse"
    answer = ask(here, capped, path, contents=[{"parts": [{"text": "Hello"}]}])
    held = here.house.stored(answer.headers["x-request-id"]).record["hold_amount"]
    assert 10 * 10_000 < held < 10 * 10_000 + 200_000


def test_a_strict_key_is_as_strict_as_a_strict_request(here: Place) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}], "top_k": 5}
    assert ask(here, here.house.new_key(), "/v1/messages", **body).status == 200
    refused = ask(here, here.house.new_key(strict=True), "/v1/messages", **body)
    assert refused.status == 400
    assert "top_k" in refused.json["error"]["message"]


def test_what_a_key_wants_holds_as_soon_as_it_is_changed(here: Place) -> None:
    made = here.house.admin("POST", "/keys", {"name": "changing", "defaults": {"seed": 1}})
    here.house.admin("PATCH", f"/keys/{made['id']}", {"defaults": {"seed": 2}})
    ask(here, made["key"], **asked())
    assert came(here).json["seed"] == 2
