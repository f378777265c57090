"""Limits and budgets over HTTP: what the headers say is true, and no concurrency gets more than it may."""

import datetime
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import openai
import pytest

from tests.e2e.answers import answers, asked, chunk, completion, embedded, held
from tests.e2e.house import ADMIN_KEY, Place, place
from tests.e2e.upstream import Visit
from tests.e2e.wire import Response, Wire, eventually, payloads, request

CHAT: Final = "/v1/chat/completions"
# A chat of the tests with max_tokens 100: so much is held for it at most, and 7 of 100 tokens are used.
OUTPUT_NANO: Final = 10_000


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house"), models='"m", "unpriced"') as made:
        yield made
        made.house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {"*": answers(completion())}


def ask(here: Place, key: str, **more: Any) -> Response:
    with here.house.wire() as wire:
        return wire.ask(CHAT, asked(**{"max_tokens": 100, **more}), key)


def at_once(number: int, work: Callable[[], Response]) -> list[Response]:
    """So many calls of `work` at the same time."""
    found: list[Response] = []
    ready = threading.Barrier(number)

    def one() -> None:
        ready.wait(20)
        found.append(work())

    threads = [threading.Thread(target=one) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == number
    return found


def reset_seconds(headers: dict[str, str], scope: str) -> float:
    """A reset header in Go's notation: `12ms`, `1s`, `6m0s`."""
    text = headers[f"x-ratelimit-reset-{scope}"]
    if text.endswith("ms"):
        return float(text.removesuffix("ms")) / 1000
    minutes, _, seconds = text.rpartition("m")
    return 60 * float(minutes or 0) + float(seconds.removesuffix("s"))


# --- requests a minute -----------------------------------------------------------------------------------------------
def test_requests_per_minute_are_counted_down_and_then_refused(here: Place) -> None:
    key = here.house.new_key(limits={"rpm": 3})
    for left in (2, 1, 0):
        headers = ask(here, key).headers
        assert headers["x-ratelimit-limit-requests"] == "3"
        assert headers["x-ratelimit-remaining-requests"] == str(left)
        assert 0 < reset_seconds(headers, "requests") <= 20 * (3 - left)
        assert "x-ratelimit-limit-tokens" not in headers
    refused = ask(here, key)
    assert refused.status == 429
    assert (refused.error["type"], refused.error["code"]) == ("requests", "rate_limit_exceeded")
    assert 0 < int(refused.headers["retry-after-ms"]) <= 20_001
    assert int(refused.headers["retry-after"]) <= 20
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(here.upstream.visits) == 3


def test_what_retry_after_says_is_true(here: Place) -> None:
    key = here.house.new_key(limits={"rpm": 600})  # one in 100 ms
    refused = next(answer for answer in (ask(here, key, max_tokens=1) for _ in range(700)) if answer.status == 429)
    wait = int(refused.headers["retry-after-ms"]) / 1000
    assert wait <= 0.11
    threading.Event().wait(wait)
    assert ask(here, key).status == 200


def test_many_at_once_get_no_more_than_the_limit(here: Place) -> None:
    key = here.house.new_key(limits={"rpm": 5})
    statuses = [answer.status for answer in at_once(20, lambda: ask(here, key))]
    assert statuses.count(200) == 5
    assert statuses.count(429) == 15
    assert len(here.upstream.visits) == 5


def test_an_account_s_limit_holds_over_all_of_its_keys(here: Place) -> None:
    account = here.house.admin("POST", "/accounts", {"name": "team", "limits": {"rpm": 4}})
    keys = [here.house.new_key(account=account["name"], limits={"rpm": 3}) for _ in range(2)]
    statuses = [ask(here, keys[number % 2]).status for number in range(6)]
    assert statuses.count(200) == 4
    refused = ask(here, keys[0])
    assert "account" in refused.error["message"]


# --- tokens a minute -------------------------------------------------------------------------------------------------
def test_tokens_are_charged_ahead_and_corrected_by_what_was_used(here: Place) -> None:
    # A model that has answered too seldom for anything to be known of its answers.
    key = here.house.new_key(limits={"tpm": 1_000})
    first = ask(here, key, max_tokens=500, model="unpriced").headers
    assert first["x-ratelimit-limit-tokens"] == "1000"
    # Charged ahead with 500 and the input, and given back what was not used: 18 were.
    second = ask(here, key, max_tokens=500, model="unpriced")
    assert second.status == 200
    remaining = int(ask(here, key, max_tokens=100, model="unpriced").headers["x-ratelimit-remaining-tokens"])
    assert 1_000 - 3 * 18 - 10 <= remaining <= 1_000
    too_much = ask(here, key, max_tokens=5_000, model="unpriced")
    assert too_much.status == 429
    assert too_much.error["type"] == "tokens"
    assert too_much.headers["x-should-retry"] == "false"  # no wait helps


def test_the_headers_of_embeddings_and_streams_tell_the_same(here: Place) -> None:
    key = here.house.new_key(limits={"rpm": 10, "tpm": 1_000})
    here.upstream.scripts = {"*": answers(embedded([[0.5]]))}
    with here.house.wire() as wire:
        answer = wire.ask("/v1/embeddings", {"model": "m", "input": "x"}, key)
        assert answer.headers["x-ratelimit-remaining-requests"] == "9"
        assert 900 < int(answer.headers["x-ratelimit-remaining-tokens"]) <= 1_000
        here.upstream.scripts = {"*": answers(completion())}
        streamed = wire.ask(CHAT, asked(stream=True, max_tokens=10), key)
        assert streamed.headers["x-ratelimit-remaining-requests"] == "8"


# --- concurrency -----------------------------------------------------------------------------------------------------
def test_concurrency_bounds_requests_and_streams_and_places_come_back(here: Place) -> None:
    key = here.house.new_key(limits={"concurrency": 2})
    gate = here.upstream.gate()
    here.upstream.scripts["m"] = held(gate, [chunk({"content": "a"})], chunk({}, "stop"), "[DONE]")
    streams = [here.house.wire() for _ in range(2)]
    for wire in streams:
        wire.send(request(CHAT, asked(stream=True), key))
        assert wire.head()[0] == 200
    refused = ask(here, key)
    assert (refused.status, refused.error["type"]) == (429, "concurrency")
    assert "retry-after" in refused.headers
    streams[0].leave()  # one leaves, the other finishes
    here.upstream.scripts["m"] = answers(completion())
    eventually(lambda: ask(here, key).status == 200, "the place of the client that left does not come back")
    gate.open()
    assert payloads(b"".join(streams[1].events()))[-1] == "[DONE]"
    streams[1].leave()
    statuses = [answer.status for answer in at_once(2, lambda: ask(here, key))]
    assert statuses == [200, 200]


def test_a_request_that_fails_gives_its_place_and_its_tokens_back(here: Place) -> None:
    key = here.house.new_key(limits={"concurrency": 1, "tpm": 1_000})
    here.upstream.scripts["m"] = answers({"error": {"message": "No."}}, 400)
    for _ in range(5):
        assert ask(here, key, max_tokens=900).status == 400
        assert ask(here, key, model="nothing").status == 404
    here.upstream.scripts["m"] = answers(completion())
    assert ask(here, key, max_tokens=900).status == 200


# --- budgets ---------------------------------------------------------------------------------------------------------
def dollars(nano: int) -> dict[str, str]:
    return {"amount": f"{nano / 1_000_000_000:.9f}", "currency": "USD", "period": "total"}


def spent(here: Place, before: str) -> int:
    return sum(stored.record["cost"] or 0 for stored in here.house.stored_since(before))


def hold_of_one(here: Place) -> int:
    """What a request of these tests reserves."""
    before = here.house.last_id()
    assert ask(here, ADMIN_KEY).status == 200
    amount: int = here.house.only_since(before).record["hold_amount"]
    assert amount > 100 * OUTPUT_NANO
    return amount


def test_twenty_at_the_last_cent_overspend_nothing(here: Place) -> None:
    """Each may cost its whole hold, and does: the budget has room for three."""
    one = hold_of_one(here)
    budget = 3 * one + one // 2
    key = here.house.new_key(budget=dollars(budget))
    usage = {"prompt_tokens": 1, "completion_tokens": 100, "total_tokens": 101}
    gate = here.upstream.gate()

    async def waits(visit: Visit) -> None:
        await gate.passed(visit)
        await visit.whole(completion(usage=usage))

    here.upstream.scripts["m"] = waits
    before = here.house.last_id()
    here.upstream.forget()

    def open_for_the_third() -> None:
        here.upstream.visit(2)
        gate.open()

    opener = threading.Thread(target=open_for_the_third)
    opener.start()
    found = at_once(20, lambda: ask(here, key))
    opener.join(20)
    statuses = [answer.status for answer in found]
    assert statuses.count(200) >= 3
    assert set(statuses) == {200, 429}
    # While the first three are held nobody else gets in; what they leave over may let a later one in.
    total = spent(here, before)
    assert total <= budget
    assert total == statuses.count(200) * (1_000 + 100 * OUTPUT_NANO)
    assert len(here.upstream.visits) == statuses.count(200)
    refused = next(answer for answer in found if answer.status == 429)
    assert (refused.error["type"], refused.error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert refused.headers["x-should-retry"] == "false"


def test_what_was_held_too_much_can_be_spent_by_the_next(here: Place) -> None:
    one = hold_of_one(here)
    cost = 11 * 1_000 + 7 * OUTPUT_NANO
    key = here.house.new_key(budget=dollars(one + 5 * cost))
    before = here.house.last_id()
    for _ in range(6):
        assert ask(here, key).status == 200
    assert ask(here, key).status == 429
    assert spent(here, before) == 6 * cost


def test_more_than_was_held_is_charged_and_stops_the_next(here: Place) -> None:
    """BUDGET-4: an answer longer than was asked for is charged in full, and no further request is let in."""
    one = hold_of_one(here)
    key = here.house.new_key(budget=dollars(one))
    usage = {"prompt_tokens": 1, "completion_tokens": 5_000, "total_tokens": 5_001}
    here.upstream.scripts["m"] = answers(completion(usage=usage))
    before = here.house.last_id()
    assert ask(here, key).status == 200
    assert spent(here, before) == 1_000 + 5_000 * OUTPUT_NANO
    assert ask(here, key, max_tokens=1).status == 429


def test_an_account_s_budget_holds_over_all_of_its_keys(here: Place) -> None:
    one = hold_of_one(here)
    account = here.house.admin("POST", "/accounts", {"name": "thrifty", "budget": dollars(2 * one)})
    keys = [here.house.new_key(account=account["name"], budget=dollars(10 * one)) for _ in range(2)]
    usage = {"prompt_tokens": 1, "completion_tokens": 100, "total_tokens": 101}
    here.upstream.scripts["m"] = answers(completion(usage=usage))
    statuses = [ask(here, keys[number % 2]).status for number in range(6)]
    assert statuses.count(200) == 2
    here.house.admin("PATCH", f"/accounts/{account['id']}", {"budget": dollars(20 * one)})
    eventually(lambda: ask(here, keys[0]).status == 200, "a larger budget does not take effect", 5)


def test_a_caller_with_a_budget_may_not_use_what_has_no_price(here: Place) -> None:
    key = here.house.new_key(budget=dollars(10**9))
    refused = ask(here, key, model="unpriced")
    assert (refused.status, refused.error["code"]) == (403, "model_unpriced")
    assert ask(here, ADMIN_KEY, model="unpriced").status == 200
    euro = here.house.new_key(budget={"amount": "1.00", "currency": "EUR", "period": "total"})
    assert ask(here, euro).error["code"] == "currency_mismatch"
    assert len(here.upstream.visits) == 1


def test_the_client_of_openai_does_not_try_again_without_money(here: Place) -> None:
    key = here.house.new_key(budget=dollars(1))
    before = here.house.last_id()
    with here.house.openai(key) as client, pytest.raises(openai.RateLimitError) as caught:
        client.with_options(max_retries=3).chat.completions.create(**asked())
    assert caught.value.code == "insufficient_quota"
    assert here.house.only_since(before).record["status"] == 429
    assert here.upstream.visits == []


# --- keys that end ---------------------------------------------------------------------------------------------------
def refused_within_a_second(here: Place, key: str, since: float) -> None:
    eventually(lambda: ask(here, key).status == 401, "the key still opens", since + 1.0 - time.monotonic())


def test_a_revoked_key_opens_nothing_within_a_second(here: Place) -> None:
    made = here.house.admin("POST", "/keys", {"name": "short-lived"})
    with Wire(here.house.port) as connected:
        assert connected.ask(CHAT, asked(), made["key"]).status == 200
        since = time.monotonic()
        here.house.admin("DELETE", f"/keys/{made['id']}")
        refused_within_a_second(here, made["key"], since)
        answer = connected.ask(CHAT, asked(), made["key"])  # on a connection that it had opened, too
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


def test_an_expired_key_opens_nothing_within_a_second(here: Place) -> None:
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    key = here.house.new_key(expires_at=expires.isoformat())
    until = time.monotonic() + (expires - datetime.datetime.now(datetime.UTC)).total_seconds()
    assert ask(here, key).status == 200
    threading.Event().wait(max(0.0, until - time.monotonic()))
    refused_within_a_second(here, key, until)


def test_a_key_of_a_disabled_account_opens_nothing_within_a_second(here: Place) -> None:
    account = here.house.admin("POST", "/accounts", {"name": "closing"})
    key = here.house.new_key(account="closing")
    assert ask(here, key).status == 200
    since = time.monotonic()
    here.house.admin("PATCH", f"/accounts/{account['id']}", {"disabled": True})
    eventually(lambda: ask(here, key).status in (401, 403), "the key still opens", since + 1.0 - time.monotonic())
