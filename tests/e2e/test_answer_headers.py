"""What the heads of answers say: the cost to the last digit, who answered, limits, and what a browser may read."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.answers import USAGE, answers, asked, completion, streams
from tests.e2e.house import ADMIN_KEY, Place, place


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {"*": answers(completion())}


COSTS = [
    ({"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}, "0.000001"),
    ({"prompt_tokens": 12_345_678, "completion_tokens": 1, "total_tokens": 12_345_679}, "12.345688"),
    ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, "0"),
    (
        {**USAGE, "prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 3}},
        "0.0000785",
    ),
    ({"prompt_tokens": 2_000_000, "completion_tokens": 100_000, "total_tokens": 2_100_000}, "3"),
]


@pytest.mark.req("CHAT-E2E-001")
@pytest.mark.parametrize(("usage", "cost"), COSTS)
def test_the_cost_of_a_whole_answer_is_exact_to_the_last_digit(here: Place, usage: dict[str, Any], cost: str) -> None:
    here.upstream.scripts["m"] = answers(completion(usage=usage))
    with here.house.wire() as wire:
        answer = wire.ask("/v1/chat/completions", asked(), ADMIN_KEY)
    assert answer.headers["x-posthouse-cost"] == cost
    assert answer.headers["x-posthouse-currency"] == "USD"
    stored = here.house.stored(answer.headers["x-request-id"])
    assert [leg["amount"] for leg in stored.entries] in ([stored.record["cost"], -stored.record["cost"]], [])
    assert (stored.entries == []) == (cost == "0")


@pytest.mark.req("CHAT-E2E-001")
@pytest.mark.parametrize("stream", [True, False])
def test_every_answer_carries_the_headers_of_the_contract(here: Place, stream: bool) -> None:
    here.upstream.scripts["m"] = streams(["a"]) if stream else answers(completion())
    key = here.house.new_key(limits={"rpm": 60, "tpm": 100_000})
    with here.house.wire() as wire:
        answer = wire.ask("/v1/chat/completions", asked(stream=stream), key)
    headers = answer.headers
    assert headers["x-request-id"].startswith("req_")
    assert int(headers["openai-processing-ms"]) >= 0
    assert headers["x-posthouse-deployment"] == "main/m"
    assert headers["x-posthouse-attempts"] == "1"
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "59"
    assert headers["x-ratelimit-limit-tokens"] == "100000"
    assert ("x-posthouse-cost" in headers) is not stream
    for scope in ("requests", "tokens"):
        assert headers[f"x-ratelimit-reset-{scope}"].endswith("s")


@pytest.mark.req("CHAT-E2E-001")
def test_a_browser_s_openai_client_may_send_its_headers_and_read_ours(here: Place) -> None:
    names = "authorization,content-type,x-stainless-lang,x-stainless-retry-count,x-stainless-helper-method,x-new-thing"
    asks = "origin: https://app.example\r\naccess-control-request-method: POST\r\n"
    asks += f"access-control-request-headers: {names}\r\n"
    with here.house.wire() as wire:
        preflight = wire.ask("/v1/chat/completions", method="OPTIONS", extra=asks)
        answer = wire.ask("/v1/chat/completions", asked(), ADMIN_KEY, extra="origin: https://app.example\r\n")
        refused = wire.ask("/v1/chat/completions", asked(), "wrong", extra="origin: https://app.example\r\n")
    assert preflight.status == 204
    allowed = {name.strip() for name in preflight.headers["access-control-allow-headers"].split(",")}
    assert allowed >= set(names.split(","))
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for seen in (preflight, answer, refused):
        assert seen.headers["access-control-allow-origin"] == "*"
    assert "x-posthouse-cost" in answer.headers["access-control-expose-headers"]
    assert refused.status == 401
