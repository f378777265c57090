"""Fallback, retries, cool-down and deadlines over real sockets, as a client sees them.

Every test has a model of its own, so that what one deployment did in one test cools nothing in another. The accounts
`first` and `second` both serve it; behind them stands one upstream, which knows them apart by their names for it.
"""

import json
import socket
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import openai
import pytest

from tests.e2e.answers import (
    USAGE,
    answers,
    asked,
    chunk,
    completion,
    fault,
    frames,
    held,
    refuses_connections,
    streams,
)
from tests.e2e.house import ADMIN_KEY, Place, RunningHouse, provider, running
from tests.e2e.upstream import Script, Upstream, Visit
from tests.e2e.wire import Response, eventually, payloads, request

MODELS: Final = 60
SMALL: Final = "timeout = { connect = 1, first_byte = 0.3, idle = 0.3, total = 2 }"
ROUTING: Final = """
[routing]
max_attempts = 4
cooldown = 0.3
[[routes]]
name = "smart"
models = ["route-a", "route-b"]
"""


def models(account: str) -> str:
    pairs = [(f"t{number}", f"{account}-t{number}") for number in range(MODELS)]
    return ", ".join(f'{{ name = "{name}", upstream = "{upstream}" }}' for name, upstream in pairs)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Upstream() as upstream, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        config = (
            ROUTING
            + provider(upstream.base_url, models("first"), f"priority = 2\n{SMALL}", name="first")
            + provider(upstream.base_url, models("second"), f"priority = 1\n{SMALL}", name="second")
            + provider(upstream.base_url, '"lone1", "lone2", "lone3", "lone4", "lone5"', SMALL, name="one")
            + provider(upstream.base_url, '"route-a", "route-b"', SMALL, name="routed")
            + provider(f"http://127.0.0.1:{unused.getsockname()[1]}", '"dead"', SMALL, name="dead")
        )
        with running(tmp_path_factory.mktemp("house"), config) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {}


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count()


@pytest.fixture
def model(numbers: Iterator[int]) -> str:
    """A model that no test has used yet."""
    number = next(numbers)
    assert number < MODELS, "MODELS is too small"
    return f"t{number}"


def ask(house: RunningHouse, model: str, **more: Any) -> Response:
    with house.wire() as wire:
        return wire.ask("/v1/chat/completions", asked(model, **more), ADMIN_KEY)


def came(here: Place) -> list[str]:
    """Which account each visit was for."""
    return [visit.json["model"].partition("-")[0] for visit in here.upstream.visits]


def trouble_of(here: Place, model: str) -> list[dict[str, Any]]:
    """What the admin API tells of the deployment that the account `first` has of a model."""
    for row in here.house.admin("GET", "/models?limit=1000")["data"]:
        if row["id"] == model:
            (first,) = [one for one in row["candidates"] if one["provider"] == "first"]
            return list(first["troubles"].values())
    return []


async def says_nothing(visit: Visit) -> None:
    await visit.until_left()


FAILING: Final[dict[str, Script]] = {
    "500": answers(fault("The tank is empty."), 500),
    "503": answers(fault("Too many guests."), 503),
    "429 without a wish": answers(fault("Slow down.", type="rate_limit_error"), 429),
    "refused credential": answers(fault("Incorrect API key.", code="invalid_api_key"), 401),
    "empty account": answers(fault("You exceeded your current quota.", code="insufficient_quota"), 429),
    "unknown model": answers(fault("The model does not exist.", code="model_not_found"), 404),
    "reset": refuses_connections,
    "silence": says_nothing,
    "redirect": answers(b"", 307, "location: http://elsewhere.example/v1\r\n"),
    "no JSON": answers(b"<html>Bad gateway</html>"),
    "error in a 200": answers(fault("The tank is empty.", code="server_error")),
}
FAILING_STREAMS: Final[dict[str, Script]] = {
    "only a role": frames(chunk({"role": "assistant", "content": ""})),
    "done at once": frames("[DONE]"),
    "error first": frames(chunk({"role": "assistant", "content": ""}), fault("The tank is empty.")),
}


@pytest.mark.req("CHAT-E2E-013")
@pytest.mark.parametrize("how", [*FAILING, *FAILING_STREAMS])
def test_the_next_deployment_answers_where_one_fails_before_its_first_content(
    here: Place, model: str, how: str
) -> None:
    here.upstream.scripts = {
        f"first-{model}": {**FAILING, **FAILING_STREAMS}[how],
        f"second-{model}": streams(["From the", " second"]) if how in FAILING_STREAMS else answers(completion()),
    }
    answer = ask(here.house, model, stream=how in FAILING_STREAMS)
    assert answer.status == 200
    assert came(here) == ["first", "second"]
    assert answer.headers["x-posthouse-attempts"] == "2"
    assert answer.headers["x-posthouse-deployment"] == f"second/{model}"
    assert b"tank" not in answer.body
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["provider"], record["attempts"], record["status"]) == ("second", 2, 200)
    (failed,) = json.loads(record["attempts_detail"])
    assert failed["deployment"] == f"first/{model}"


@pytest.mark.req("CHAT-E2E-013")
def test_after_the_first_content_no_other_deployment_is_tried(here: Place, model: str) -> None:
    gate = here.upstream.gate()
    here.upstream.scripts = {
        f"first-{model}": held(gate, [chunk({"content": "From the first"})], fault("The tank is empty.")),
        f"second-{model}": streams(["From the second"]),
    }
    with here.house.wire() as wire:
        wire.send(request("/v1/chat/completions", asked(model, stream=True), ADMIN_KEY))
        _, headers = wire.head()
        events = wire.events()
        assert b"From the first" in next(events)
        gate.open()
        (error,) = payloads(b"".join(events))
    assert "The tank is empty." in error["error"]["message"]
    assert came(here) == ["first"]
    assert headers["x-posthouse-attempts"] == "1"


@pytest.mark.req("CHAT-E2E-012", "CHAT-E2E-013")
@pytest.mark.parametrize(
    ("status", "code"), [(400, "invalid_value"), (422, None), (400, "context_length_exceeded"), (400, "content_filter")]
)
def test_what_is_the_caller_s_own_fault_is_tried_once(here: Place, model: str, status: int, code: str | None) -> None:
    body = fault("max_tokens is too large: 9999.", type="invalid_request_error", param="max_tokens", code=code)
    here.upstream.scripts = {"*": answers(body, status)}
    answer = ask(here.house, model)
    assert answer.status == 400
    assert answer.error == {
        "message": "max_tokens is too large: 9999.",
        "type": "invalid_request_error",
        "param": "max_tokens",
        "code": code,
    }
    assert came(here) == ["first"]
    assert answer.headers["x-posthouse-attempts"] == "1"
    assert answer.headers["x-posthouse-deployment"] == f"first/{model}"


INTERNALS: Final = (
    "upstream-credential-1",
    "llm-7.internal.corp",
    "10.1.2.3",
    "/srv/models",
    "sk-proj-abcdefghijkl123456",
    "org-AbCdEfGh12345678",
    "backend-17",
    "Traceback",
)


@pytest.mark.req("CHAT-E2E-012")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503])
@pytest.mark.parametrize("stream", [True, False])
def test_nothing_of_a_provider_s_insides_reaches_the_client(here: Place, model: str, status: int, stream: bool) -> None:
    text = (
        "Input of 9000 tokens was refused. See https://llm-7.internal.corp:8443/v1/x?key=1 at 10.1.2.3:9000, file "
        "/srv/models/secret/run.py, key sk-proj-abcdefghijkl123456 or upstream-credential-1 of org-AbCdEfGh12345678. "
        'Traceback (most recent call last):\n  File "/srv/models/a.py", line 1'
    )
    extra = (
        "server: backend-17\r\nset-cookie: backend-17=1\r\nx-internal-host: llm-7.internal.corp\r\nretry-after: 60\r\n"
    )
    here.upstream.scripts = {"*": answers(fault(text, param="/srv/models/x.py"), status, extra)}
    answer = ask(here.house, model, stream=stream)
    assert 400 <= answer.status < 600
    assert answer.status != 500
    assert "Input of 9000 tokens was refused." in answer.error["message"]
    shown = answer.body.decode() + str(answer.headers)
    assert [inside for inside in INTERNALS if inside in shown] == []
    with here.house.client() as client:
        assert [inside for inside in INTERNALS if inside in client.get("/metrics").text] == []


def test_a_model_that_a_caller_invents_is_no_group_of_the_usage(here: Place) -> None:
    assert ask(here.house, "invented-by-a-caller").status == 404
    with here.house.client() as client:
        groups = [row["model"] for row in client.get("/admin/api/usage?group_by=model").json()["data"]]
    assert "invented-by-a-caller" not in groups
    assert "unknown" in groups


def test_one_deployment_alone_is_tried_again(here: Place) -> None:
    tries = count(1)

    async def script(visit: Visit) -> None:
        if next(tries) < 3:
            await visit.whole(fault("The tank is empty."), 500)
        else:
            await visit.whole(completion())

    here.upstream.scripts = {"lone2": script}
    answer = ask(here.house, "lone2")
    assert answer.status == 200
    assert answer.headers["x-posthouse-attempts"] == "3"


def test_attempts_are_bounded_and_no_sdk_multiplies_them(here: Place) -> None:
    here.upstream.scripts = {"*": answers(fault("The tank is empty."), 500)}
    with here.house.openai() as client, pytest.raises(openai.InternalServerError) as caught:
        client.with_options(max_retries=2).chat.completions.create(**asked("lone3"))
    assert len(here.upstream.visits) == 4
    assert caught.value.status_code == 502
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_a_short_wish_to_wait_is_heeded_here(here: Place) -> None:
    tries = count(1)

    async def script(visit: Visit) -> None:
        if next(tries) == 1:
            await visit.whole(fault("Slow down."), 429, "retry-after-ms: 60\r\n")
        else:
            await visit.whole(completion())

    here.upstream.scripts = {"lone4": script}
    answer = ask(here.house, "lone4")
    assert (answer.status, answer.headers["x-posthouse-attempts"]) == (200, "2")
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert record["duration_ms"] >= 60


@pytest.mark.req("CHAT-E2E-012")
def test_a_long_wish_to_wait_is_passed_on_and_the_provider_is_left_alone_meanwhile(here: Place) -> None:
    here.upstream.scripts = {"*": answers(fault("Slow down.", type="rate_limit_error"), 429, "retry-after: 90\r\n")}
    for _ in range(3):
        answer = ask(here.house, "lone5")
        assert answer.status == 429
        assert (answer.error["type"], answer.error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert 80 < int(answer.headers["retry-after"]) <= 91
        assert 80_000 < int(answer.headers["retry-after-ms"]) <= 90_001
        assert "x-should-retry" not in answer.headers
    assert len(here.upstream.visits) == 1


@pytest.mark.req("ROUTE-007")
def test_a_deployment_that_keeps_failing_is_tried_last_until_it_has_cooled(here: Place, model: str) -> None:
    here.upstream.scripts = {
        f"first-{model}": answers(fault("The tank is empty."), 500),
        f"second-{model}": answers(completion()),
    }
    for _ in range(3):
        assert ask(here.house, model).headers["x-posthouse-attempts"] == "2"
    here.upstream.forget()
    assert ask(here.house, model).headers["x-posthouse-attempts"] == "1"
    assert came(here) == ["second"]
    here.upstream.scripts[f"first-{model}"] = answers(completion())

    def first_is_back() -> bool:
        return ask(here.house, model).headers["x-posthouse-deployment"] == f"first/{model}"

    eventually(first_is_back, "the cool-down does not end", 10)


@pytest.mark.req("ROUTE-008")
def test_a_probe_is_one_request_at_a_time(here: Place, model: str) -> None:
    gate = here.upstream.gate()

    async def held_back(visit: Visit) -> None:
        await gate.passed(visit)
        await visit.whole(completion())

    here.upstream.scripts = {
        f"first-{model}": answers(fault("Slow down."), 429, "retry-after-ms: 1\r\n"),
        f"second-{model}": answers(completion()),
    }
    ask(here.house, model)
    here.upstream.scripts[f"first-{model}"] = held_back
    eventually(lambda: trouble_of(here, model)[0]["state"] == "waiting", "the wish does not end", 10)
    here.upstream.forget()
    with here.house.wire() as probe:
        probe.send(request("/v1/chat/completions", asked(model), ADMIN_KEY))
        here.upstream.visit(0)
        assert trouble_of(here, model)[0]["state"] == "probing"
        for _ in range(5):
            assert ask(here.house, model).headers["x-posthouse-deployment"] == f"second/{model}"
        gate.open()
        assert probe.response().headers["x-posthouse-deployment"] == f"first/{model}"
    assert came(here) == ["first", *["second"] * 5]
    assert trouble_of(here, model) == []


def test_a_route_falls_through_its_models_in_order(here: Place) -> None:
    here.upstream.scripts = {"route-a": answers(fault("The tank is empty."), 500), "route-b": answers(completion())}
    answer = ask(here.house, "smart")
    assert answer.headers["x-posthouse-deployment"] == "routed/route-b"
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["model_asked"], record["model"]) == ("smart", "route-b")


@pytest.mark.req("CHAT-E2E-012")
def test_a_provider_that_is_not_there_is_a_502_that_tells_no_address(here: Place) -> None:
    answer = ask(here.house, "dead")
    assert answer.status == 502
    assert answer.headers["x-should-retry"] == "false"
    assert "127.0.0.1" not in answer.error["message"]


def test_usage_of_a_failed_attempt_is_not_charged(here: Place, model: str) -> None:
    here.upstream.scripts = {
        f"first-{model}": frames(chunk(None, usage=USAGE), fault("The tank is empty.")),
        f"second-{model}": streams(["a"], {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
    }
    answer = ask(here.house, model, stream=True)
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["input"], record["output"], record["provider"]) == (1, 2, "second")
