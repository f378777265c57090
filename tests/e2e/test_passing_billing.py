"""What a key with a budget may spend at a provider's own interface: docs/billing.md, PASS. How its calls end and what
they cost then is in the matrix."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.e2e.answers import answers, completion
from tests.e2e.house import ADMIN_KEY, NANO, Place, provider, running
from tests.e2e.passing_routes import rough
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Response

INPUT_NANO, OUTPUT_NANO = 1_000, 10_000
PRICES: Final = """
[[prices]]
model = "m"
provider = "main"
currency = "USD"
input = "1.00"
output = "10.00"

[[prices]]
model = "passthrough"
provider = "priced"
currency = "USD"
request = "0.25"

[[prices]]
model = "m"
provider = "priced"
currency = "USD"
input = "1.00"
output = "10.00"
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Upstream() as upstream:
        config = "".join(
            provider(upstream.base_url, '"m"', "passthrough = true", name=name) for name in ("main", "priced")
        )
        renamed = '{ name = "ours", upstream = "theirs" }'
        config += provider(upstream.base_url, renamed, "passthrough = true", name="renamed")
        config += PRICES + PRICES.partition("\n\n")[0].replace('"m"', '"ours"').replace('"main"', '"renamed"') + "\n"
        with running(tmp_path_factory.mktemp("house"), config) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.early = {}
    here.upstream.scripts = {"*": answers({})}


def cost(tokens: tuple[int, int]) -> int:
    return tokens[0] * INPUT_NANO + tokens[1] * OUTPUT_NANO


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **more}


def key_with(here: Place, amount: str) -> str:
    return here.house.new_key(budget={"amount": amount, "currency": "USD", "period": "day"})


def ask(here: Place, path: str, body: bytes | dict[str, Any], key: str, method: str = "POST") -> Response:
    with here.house.wire() as wire:
        return wire.ask(f"/providers/{path}", body, key, method)


@pytest.mark.req("PASS-011")
def test_what_a_call_can_cost_is_held_before_it_is_sent(here: Place) -> None:
    here.upstream.scripts["m"] = answers(completion())
    body = chat(max_tokens=100, n=2)
    answer = ask(here, "main/chat/completions", body, key_with(here, "1"))
    assert answer.status == 200
    stored = here.house.stored(answer.headers["x-request-id"])
    held = rough(json.dumps(body).encode()) * INPUT_NANO + 200 * OUTPUT_NANO
    assert (stored.record["hold_amount"], stored.record["cost"]) == (held, cost((11, 7)))
    small = key_with(here, "0.001")
    refused = ask(here, "main/chat/completions", body, small)
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
    assert len(here.upstream.visits) == 1
    # A caller without a cap is admitted with what is left, if that covers its input and 64 tokens.
    assert ask(here, "main/chat/completions", chat(), small).status == 200


@pytest.mark.req("PASS-011")
@pytest.mark.parametrize(
    ("path", "caps", "tokens"),
    [
        ("chat/completions", {"max_completion_tokens": 5, "max_tokens": 3}, 5),
        ("responses", {"max_output_tokens": 5}, 5),
        ("messages", {"max_tokens": 5}, 5),
        ("completions", {"max_tokens": 5, "n": 2, "best_of": 3}, 15),
        ("models/m:generateContent", {"generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}, 10),
        ("models/m:generateContent", {"generation_config": {"max_output_tokens": 5}}, 5),
        ("embeddings", {}, 0),
        ("chat/completions", {}, 4096),
        ("chat/completions", {"max_tokens": "many"}, 4096),
        ("chat/completions", {"max_tokens": None, "n": -1}, 4096),
    ],
)
def test_the_cap_of_a_call_is_read_in_every_dialect(here: Place, path: str, caps: dict[str, Any], tokens: int) -> None:
    body = {"model": "m", "input": "x" * 100, **caps}
    answer = ask(here, f"main/{path}", body, key_with(here, "1"))
    held = here.house.stored(answer.headers["x-request-id"]).record["hold_amount"]
    assert held == rough(json.dumps(body).encode()) * INPUT_NANO + tokens * OUTPUT_NANO


TWICE: Final = b'{"model":"m","messages":[],"mod\\u0065l":"dear"}'
UNSURE: Final[list[tuple[str, bytes | dict[str, Any]]]] = [
    ("chat/completions", {"messages": []}),
    ("chat/completions", {"model": "nobody-knows", "messages": []}),
    ("chat/completions", {"model": ["m"], "messages": []}),
    ("chat/completions", b'{"model":"m","messages":[]'),
    ("chat/completions", b'{"model":"m","messages":[],}'),
    ("chat/completions", b'{"model":"m"}{"model":"dear"}'),
    ("chat/completions", json.dumps(chat()).encode("utf-16-le")),
    ("chat/completions", b""),
    ("models/m:generateContent", {"model": "dear", "contents": []}),
    ("responses", {"model": "m", "input": "x", "background": True}),
    ("responses", b'{"model":"m","input":"x","background":true' + b" " * 70_000 + b"}"),
]


@pytest.mark.req("PASS-011")
@pytest.mark.parametrize(("path", "body"), UNSURE)
@pytest.mark.parametrize("account", ["main", "priced"])
def test_a_budget_pays_for_no_call_whose_price_is_unsure(
    here: Place, account: str, path: str, body: bytes | dict[str, Any]
) -> None:
    answer = ask(here, f"{account}/{path}", body, key_with(here, "100"))
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (answer.status, record["error_code"]) == (403, "model_unpriced")
    assert here.upstream.visits == []


@pytest.mark.req("PASS-011")
def test_a_member_that_is_there_twice_is_refused(here: Place) -> None:
    for key in (key_with(here, "100"), ADMIN_KEY):
        answer = ask(here, "main/chat/completions", TWICE, key)
        assert (answer.status, answer.error["param"]) == (400, "model")
    assert here.upstream.visits == []


@pytest.mark.req("PASS-011")
@pytest.mark.parametrize(
    ("path", "method"),
    [("files", "GET"), ("fine_tuning/jobs", "POST"), ("batches", "POST"), ("responses/resp_1", "GET")],
)
def test_whatever_else_a_budget_pays_at_the_price_that_the_operator_gives(here: Place, path: str, method: str) -> None:
    body: dict[str, Any] | bytes = {"model": "m"} if method == "POST" else b""
    refused = ask(here, f"main/{path}", body, key_with(here, "100"), method)
    assert (refused.status, refused.error["code"]) == (403, "model_unpriced")
    assert "'passthrough'" in refused.error["message"]
    assert here.upstream.visits == []
    here.upstream.scripts["*"] = answers({"usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0}})
    key = key_with(here, "0.5")
    statuses = []
    for _ in range(3):
        answer = ask(here, f"priced/{path}", body, key, method)
        statuses.append(answer.status)
        if answer.status == 200:
            record = here.house.stored(answer.headers["x-request-id"]).record
            assert (record["hold_amount"], record["cost"]) == (NANO // 4, NANO // 4)
    assert statuses == [200, 200, 429]


@pytest.mark.req("PASS-012")
def test_without_a_budget_what_an_answer_tells_is_charged_at_its_models_price(here: Place) -> None:
    here.upstream.scripts["*"] = answers({"usage": {"prompt_tokens": 11, "completion_tokens": 7}})
    told = ask(here, "main/threads/runs", {"model": "m"}, ADMIN_KEY)
    nameless = ask(here, "main/threads/runs", {}, ADMIN_KEY)
    here.upstream.scripts["*"] = answers({})
    silent = ask(here, "main/threads/runs", {"model": "m"}, ADMIN_KEY)
    records = [here.house.stored(one.headers["x-request-id"]).record for one in (told, nameless, silent)]
    assert [record["cost"] for record in records] == [cost((11, 7)), None, None]
    assert [(record["input"], record["output"]) for record in records] == [(11, 7), (11, 7), (0, 0)]


@pytest.mark.req("PASS-012")
def test_a_model_is_known_by_the_providers_own_name_and_priced_by_ours_too(here: Place) -> None:
    here.upstream.scripts["theirs"] = answers(completion())
    answer = ask(here, "renamed/chat/completions", chat(model="theirs"), key_with(here, "1"))
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["model_asked"], record["model"], record["cost"]) == ("theirs", "ours", cost((11, 7)))
    alias = ask(here, "renamed/chat/completions", chat(model="ours"), key_with(here, "1"))
    assert here.upstream.visit(1).json["model"] == "ours"
    assert here.house.stored(alias.headers["x-request-id"]).record["model"] == "passthrough"


@pytest.mark.req("PASS-011")
def test_a_picture_in_a_body_is_not_held_as_text(here: Place) -> None:
    body = chat(max_tokens=1, image="A" * 1_000_000)
    answer = ask(here, "main/chat/completions", body, key_with(here, "1"))
    held = here.house.stored(answer.headers["x-request-id"]).record["hold_amount"]
    assert held < 80_000 * INPUT_NANO
