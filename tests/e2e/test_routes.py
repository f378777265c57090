"""Routes of an operator over real sockets: strategies, fallbacks, several credentials.

Each test has routes and models of its own, so that what a deployment did in one test counts in no other.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.answers import answers, asked, completion, fault, streams
from tests.e2e.house import ADMIN_KEY, Place, provider, running
from tests.e2e.upstream import Upstream, Visit
from tests.e2e.wire import Response, request

ROUTES = """
[[routes]]
name = "by-cost"
models = ["dear", "unpriced", "cheap", "free-input"]
strategy = "cheapest"

[[routes]]
name = "by-latency"
models = ["slow", "quick"]
strategy = "latency"

[[routes]]
name = "reads"
models = ["short", "short-too"]
fallbacks = { context_length = ["long"], rate = [] }

[[prices]]
model = "short"
currency = "USD"
input = "1.00"

[[prices]]
model = "short-too"
currency = "USD"
input = "1.00"

[[prices]]
model = "long"
currency = "USD"
input = "8.00"

[[prices]]
model = "dear"
currency = "USD"
input = "5.00"
output = "20.00"

[[prices]]
model = "cheap"
currency = "USD"
input = "1.00"
output = "2.00"

[[prices]]
model = "free-input"
currency = "USD"
input = "0"
output = "4.00"
"""


def several(base_url: str) -> str:
    """An account with two credentials, whose last letters are `a` and `b`."""
    return f"""
[[providers]]
name = "several"
type = "openai-compatible"
base_url = "{base_url}"
credentials = ["upstream-credential-a", "env:SECOND_CREDENTIAL"]
models = ["shared", "spent", "limited"]
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Upstream() as upstream:
        models = '"dear", "unpriced", "cheap", "free-input", "slow", "quick", "short", "short-too", "long"'
        config = ROUTES + provider(upstream.base_url, models) + several(upstream.base_url)
        environ = {"SECOND_CREDENTIAL": "upstream-credential-b"}
        with running(tmp_path_factory.mktemp("house"), config, environ) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {"*": answers(completion())}


def ask(here: Place, model: str, key: str = ADMIN_KEY, **more: Any) -> Response:
    with here.house.wire() as wire:
        return wire.ask("/v1/chat/completions", asked(model, **more), key)


def came(here: Place) -> list[str]:
    return [visit.json["model"] for visit in here.upstream.visits]


def served(answer: Response) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["x-posthouse-deployment"].partition("/")[2]


@pytest.mark.req("ROUTE-001")
def test_the_cheapest_for_this_very_request_is_asked(here: Place) -> None:
    assert served(ask(here, "by-cost", max_tokens=100_000)) == "cheap"
    long = [{"role": "user", "content": "word " * 2_000}]
    assert served(ask(here, "by-cost", max_tokens=10, messages=long)) == "free-input"


@pytest.mark.req("ROUTE-004")
def test_the_hold_covers_the_dearest_that_may_come_to_answer(here: Place) -> None:
    answer = ask(here, "by-cost", max_tokens=1_000)
    hold = here.house.stored(answer.headers["x-request-id"]).hold
    assert hold is not None
    assert hold["amount"] > 1_000 * 20_000  # nano-units: 20 USD per million of output


@pytest.mark.req("ROUTE-001")
def test_a_model_without_a_price_comes_last(here: Place) -> None:
    fails = answers(fault("Out of order."), 500)
    here.upstream.scripts |= {"dear": fails, "cheap": fails, "free-input": fails}
    assert served(ask(here, "by-cost")) == "unpriced"
    assert came(here)[-1] == "unpriced"


@pytest.mark.req("ROUTE-002")
def test_the_faster_deployment_is_asked_once_both_are_known(here: Place) -> None:
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await gate.passed(visit)
        await visit.whole(completion())

    here.upstream.scripts["slow"] = script
    with here.house.wire() as one, here.house.wire() as other:
        # Neither is measured, so each gets one of these; then the quick one all others, while the slow one has not
        # answered yet.
        one.send(request("/v1/chat/completions", asked("by-latency"), ADMIN_KEY))
        first = here.upstream.visit(0).json["model"]
        other.send(request("/v1/chat/completions", asked("by-latency"), ADMIN_KEY))
        here.upstream.visit(1)
        quick, slow = (one, other) if first == "quick" else (other, one)
        assert served(quick.response()) == "quick"
        assert [served(ask(here, "by-latency")) for _ in range(3)] == ["quick"] * 3
        gate.open()
        assert served(slow.response()) == "slow"
    assert served(ask(here, "by-latency")) == "quick"


TOO_LONG = answers(fault("Too long.", code="context_length_exceeded", type="invalid_request_error"), 400)


@pytest.mark.req("ROUTE-003")
@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_that_is_too_long_goes_to_the_model_that_the_route_names_for_it(here: Place, stream: bool) -> None:
    here.upstream.scripts |= {"short": TOO_LONG, "long": streams(["Read."]) if stream else answers(completion())}
    answer = ask(here, "reads", stream=stream)
    assert served(answer) == "long"
    assert came(here) == ["short", "long"]
    assert answer.headers["x-posthouse-attempts"] == "2"
    record, hold, _ = here.house.stored(answer.headers["x-request-id"])
    assert (record["model_asked"], record["model"], record["status"]) == ("reads", "long", 200)
    # The charge is the long model's, and what was held was enough for it: 8 USD per million of both.
    assert record["cost"] == (11 + 7) * 8_000
    assert hold is not None
    assert hold["amount"] == record["hold_amount"] >= record["cost"]


@pytest.mark.req("ROUTE-004")
def test_a_budget_that_does_not_cover_the_fallback_does_not_admit_the_request(here: Place) -> None:
    little = here.house.new_key(budget={"amount": "0.006", "currency": "USD"})
    assert ask(here, "short", little, max_tokens=1_000).status == 200
    assert ask(here, "reads", little, max_tokens=1_000).error["code"] == "insufficient_quota"


@pytest.mark.req("ROUTE-005")
def test_a_failure_with_an_empty_list_of_fallbacks_is_told_at_once(here: Place) -> None:
    here.upstream.scripts["short"] = answers(fault("Slow down.", type="rate_limit_error"), 429)
    assert ask(here, "reads").status == 429
    assert came(here) == ["short"]


@pytest.mark.req("ROUTE-006")
def test_where_the_longer_model_is_of_no_use_the_caller_learns_that_its_prompt_is_too_long(here: Place) -> None:
    here.upstream.scripts |= {"short": TOO_LONG, "short-too": TOO_LONG, "long": answers(fault("Broken."), 404)}
    answer = ask(here, "reads")
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["cost"], record["attempts"]) == (None, 2)


def credentials(here: Place) -> list[str]:
    """The last letter of the credential that each visit came with."""
    return [visit.headers["authorization"][-1] for visit in here.upstream.visits]


@pytest.mark.req("ROUTE-009")
def test_several_credentials_of_an_account_are_used_in_turn(here: Place) -> None:
    answers_ = [ask(here, "shared") for _ in range(6)]
    assert {served(answer) for answer in answers_} == {"shared"}
    assert {answer.headers["x-posthouse-deployment"] for answer in answers_} == {"several/shared"}
    assert credentials(here) == ["a", "b"] * 3


@pytest.mark.req("ROUTE-009", "ROUTE-010")
@pytest.mark.parametrize("stream", [True, False])
def test_a_credential_that_is_of_no_use_is_skipped_and_shown_by_its_number(here: Place, stream: bool) -> None:
    model = "limited" if stream else "spent"
    refusal = answers(fault("Slow down."), 429, "x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 6m0s\r\n")
    if not stream:
        refusal = answers(fault("Incorrect API key: upstream-credential-a", code="invalid_api_key"), 401)
    success = streams(["Here."]) if stream else answers(completion())

    async def script(visit: Visit) -> None:
        await (refusal if visit.headers["authorization"].endswith("-a") else success)(visit)

    here.upstream.scripts[model] = script
    first, *later = [ask(here, model, stream=stream) for _ in range(4)]
    assert [served(answer) for answer in (first, *later)] == [model] * 4
    assert credentials(here) == ["a", "b", "b", "b", "b"]
    detail = here.house.stored(first.headers["x-request-id"]).record["attempts_detail"]
    (failed,) = json.loads(detail)
    assert (failed["deployment"], failed["credential"]) == (f"several/{model}", 1)
    shown = here.house.admin("GET", "/models?limit=1000")["data"]
    (row,) = [one for one in shown if one["id"] == model]
    assert [(one["credential"], bool(one["troubles"])) for one in row["candidates"]] == [(1, True), (2, False)]
    if stream:
        assert row["candidates"][0]["troubles"]["chat.completions"]["cooling_seconds"] > 300
    everything = (
        detail + str(shown) + str(here.house.admin("GET", "/providers")) + str(here.house.admin("GET", "/config"))
    )
    assert "upstream-credential" not in everything
    assert "env:SECOND_CREDENTIAL" in everything
