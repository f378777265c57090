"""Why requests went where they went: told by the admin API of a running house, and by the command."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from posthouse.cli import app
from tests.e2e.answers import answers, asked, chunk, completion, fault, held
from tests.e2e.house import ADMIN_KEY, RunningHouse, provider, running
from tests.e2e.upstream import Script, Upstream, Visit
from tests.e2e.wire import Response, eventually, request

SETS = 20
NAMES = ("one", "two", "swift", "swifter", "yuan", "unpriced")


def tables(n: int) -> str:
    """Routes and prices of one test, whose names end with its number."""
    return f"""
[[routes]]
name = "either{n}"
models = ["one{n}", "two{n}"]

[[routes]]
name = "by-weight{n}"
models = ["one{n}", "two{n}"]
strategy = "weighted"

[[routes]]
name = "by-latency{n}"
models = ["swift{n}", "swifter{n}"]
strategy = "latency"

[[routes]]
name = "by-cost{n}"
models = ["yuan{n}", "unpriced{n}", "two{n}", "one{n}"]
strategy = "cheapest"

[[routes]]
name = "reads{n}"
models = ["one{n}"]
fallbacks = {{ context_length = ["two{n}"] }}

[[prices]]
model = "one{n}"
currency = "USD"
input = "1.00"

[[prices]]
model = "two{n}"
currency = "USD"
input = "2.00"

[[prices]]
model = "yuan{n}"
currency = "CNY"
input = "1.00"
"""


class Here:
    """Models and routes are named without the number that makes them this test's own."""

    def __init__(self, house: RunningHouse, upstream: Upstream, folder: Path) -> None:
        self.house = house
        self.upstream = upstream
        self.folder = folder
        self.number = 0

    def script(self, model: str, script: Script) -> None:
        self.upstream.scripts[f"{model}{self.number}"] = script

    def ask(self, model: str, key: str = ADMIN_KEY, **more: Any) -> Response:
        with self.house.wire() as wire:
            return wire.ask("/v1/chat/completions", asked(f"{model}{self.number}", **more), key)

    def explained(self, answer: Response | str, status: int = 200) -> dict[str, Any]:
        request_id = answer if isinstance(answer, str) else answer.headers["x-request-id"]
        with self.house.client() as client:
            shown = client.get(f"/admin/api/requests/{request_id}/explain")
            assert shown.status_code == status, shown.text
            body: dict[str, Any] = shown.json()
            return body

    def command(self, *words: str, code: int = 0) -> str:
        where = ["--config", str(self.folder / "posthouse.toml"), "--data", str(self.folder / "data")]
        result = CliRunner().invoke(app, ["explain", *words, *where])
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout + result.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("house")
    with Upstream() as upstream:
        models = ", ".join(f'"{name}{n}"' for n in range(SETS) for name in NAMES)
        config = "".join(map(tables, range(SETS))) + provider(upstream.base_url, models)
        with running(folder, config) as house:
            yield Here(house, upstream, folder)
            house.verified()


@pytest.fixture
def here(place: Here) -> Here:
    place.number += 1
    assert place.number < SETS, "SETS is too small"
    place.upstream.scripts = {"*": answers(completion())}
    place.upstream.forget()
    return place


def outcomes(shown: dict[str, Any]) -> list[tuple[str, str]]:
    """Models without their number, and what became of them."""
    return [(one["deployment"].partition("/")[2].rstrip("0123456789"), one["outcome"]) for one in shown["candidates"]]


def test_one_deployment_is_explained_from_the_record_alone(here: Here) -> None:
    answer = here.ask("one")
    assert here.house.stored(answer.headers["x-request-id"]).record["decision"] is None
    shown = here.explained(answer)
    assert outcomes(shown) == [("one", "answered")]
    assert shown["candidates"][0]["why"] == "the only deployment there was; it answered"
    (attempt,) = shown["attempts"]
    assert (attempt["at_ms"], attempt["kind"]) == (0, None)
    assert attempt["duration_ms"] == shown["duration_ms"]
    assert shown["price"]["agrees"] is True
    assert (shown["price"]["cost"], shown["price"]["charged"]) == ("0.000018", "0.000018")
    assert [step["taken"] for step in shown["price"]["steps"]] == [True, False]
    assert shown["hold"]["state"] == "settled"
    assert shown["recomputed"] == ["price", "limits"]


@pytest.mark.req("ROUTE-011")
def test_every_attempt_is_told_with_its_time_and_what_came_of_it(here: Here) -> None:
    here.script("one", answers(fault("The tank is empty."), 500))
    shown = here.explained(here.ask("either"))
    assert outcomes(shown) == [("one", "failed"), ("two", "answered")]
    first, second = shown["candidates"]
    assert first["why"] == "the first by rank, drawn by weight among equals; it failed: server"
    assert (first["rank"], second["rank"], second["place"]) == ([0, 0], [1, 0], 2)
    failed, answered = shown["attempts"]
    assert (failed["kind"], failed["status"], failed["message"]) == ("server", 500, "The tank is empty.")
    assert 0 <= failed["at_ms"] <= failed["at_ms"] + failed["duration_ms"] <= answered["at_ms"]
    assert answered["first_content_ms"] >= answered["at_ms"]
    assert answered["at_ms"] + answered["duration_ms"] == shown["duration_ms"]


def test_what_was_not_tried_is_told_too(here: Here) -> None:
    shown = here.explained(here.ask("by-weight"))
    (first, last) = shown["candidates"]
    assert (first["outcome"], last["outcome"]) == ("answered", "untried")
    assert first["why"] == "drawn first by weight; it answered"
    assert first["draw"] >= last["draw"]


def test_what_cools_is_told_with_the_time_that_was_left(here: Here) -> None:
    here.script("one", answers(fault("Not paid.", code="insufficient_quota"), 429))
    here.ask("either")
    shown = here.explained(here.ask("either"))
    assert outcomes(shown) == [("two", "answered"), ("one", "untried")]
    last = shown["candidates"][1]
    assert (last["trouble"]["state"], last["trouble"]["kind"]) == ("cooling", "quota")
    assert 50 < last["trouble"]["seconds"] <= 60
    assert "so it came last; it was not tried" in last["why"]


def test_scores_are_told_where_they_were_measured(here: Here) -> None:
    shown = here.explained(here.ask("by-latency"))
    assert [one["score"] for one in shown["candidates"]] == [None, None]
    for _ in range(20):  # an answer is measured when it has ended for us, which may be after it has for the client
        shown = here.explained(here.ask("by-latency"))
        if all(one["score"] is not None for one in shown["candidates"]):
            break
    assert all(one["score"] > 0 for one in shown["candidates"])
    assert shown["candidates"][0]["why"].startswith("of two drawn at random")


@pytest.mark.req("ROUTE-011")
def test_costs_are_told_and_whom_the_caller_s_budget_kept_away(here: Here) -> None:
    key = here.house.new_key(budget={"amount": "5.00", "currency": "USD"}, limits={"rpm": 100})
    shown = here.explained(here.ask("by-cost", key, max_tokens=10))
    assert outcomes(shown) == [
        ("one", "answered"),
        ("two", "untried"),
        ("yuan", "passed_over"),
        ("unpriced", "passed_over"),
    ]
    one, two, yuan, unpriced = shown["candidates"]
    assert float(two["expected_cost"]) == 2 * float(one["expected_cost"])
    assert (yuan["place"], yuan["why"]) == (
        None,
        "passed over: its price is in another currency than the caller's budget",
    )
    assert "no price is known for it" in unpriced["why"]
    assert shown["limits"]["key"]["budget"]["amount"] == "5"
    assert [one["amount"] for one in shown["limits"]["key"]["budgets"]] == ["5"]
    assert shown["limits"]["key"]["limits"]["rpm"] == 100
    assert shown["limits"]["account"]["name"] == "default"
    assert shown["limits"]["above"] == []


def test_limits_of_all_accounts_above_are_told_the_nearest_first(here: Here) -> None:
    at = None
    for name in ("company", "team", "person"):
        wish = {"name": name, "limits": {"rpm": 1000 + len(name)}, **({} if at is None else {"parent": at})}
        at = here.house.admin("POST", "/accounts", wish)["id"]
    answer = here.ask("either", here.house.new_key(account="person"))
    shown = here.explained(answer)["limits"]
    assert shown["account"]["name"] == "person"
    assert [(one["name"], one["limits"]["rpm"]) for one in shown["above"]] == [("team", 1004), ("company", 1007)]
    told = here.command(here.explained(answer)["id"])
    assert told.index("The account person now") < told.index("The account above team now")
    assert told.index("The account above team now") < told.index("The account above company now")


def test_a_fallback_is_told_as_one(here: Here) -> None:
    here.script("one", answers(fault("Too long.", code="context_length_exceeded"), 400))
    shown = here.explained(here.ask("reads"))
    assert outcomes(shown) == [("one", "failed"), ("two", "answered")]
    assert shown["candidates"][1]["after"] == "context_length"
    assert shown["candidates"][1]["why"] == "a fallback, tried after context_length only; it answered"
    here.script("one", answers(completion()))
    assert outcomes(here.explained(here.ask("reads"))) == [("one", "answered"), ("two", "untried")]


def test_one_deployment_that_was_asked_again_is_told_attempt_by_attempt(here: Here) -> None:
    tries = iter((500, 500, 200))

    async def script(visit: Visit) -> None:
        status = next(tries)
        await visit.whole(completion() if status == 200 else fault("Broken."), status)

    here.script("one", script)
    shown = here.explained(here.ask("one"))
    assert outcomes(shown) == [("one", "answered")]
    assert shown["candidates"][0]["why"] == "the only deployment there was; it failed: server, server; it answered"
    assert [one["kind"] for one in shown["attempts"]] == ["server", "server", None]
    assert shown["attempts"][2]["at_ms"] > shown["attempts"][1]["at_ms"]


def test_a_request_of_which_nobody_answered_is_told_to_its_end(here: Here) -> None:
    here.upstream.scripts["*"] = answers(fault("Broken."), 401)
    shown = here.explained(here.ask("either"))
    assert outcomes(shown) == [("one", "failed"), ("two", "failed")]
    assert (shown["status"], len(shown["attempts"])) == (502, 2)
    assert shown["hold"]["state"] == "released"
    assert shown["price"]["agrees"] is None


def test_a_client_that_left_is_told_with_whom_was_asked_then(here: Here) -> None:
    gate = here.upstream.gate()
    here.script("one", held(gate, [], chunk({"content": "late"}, "stop"), "[DONE]"))
    last = here.house.last_id()
    with here.house.wire() as wire:
        wire.send(request("/v1/chat/completions", asked(f"either{here.number}", stream=True), ADMIN_KEY))
        here.upstream.visit(0)
        wire.leave()
    record = here.house.only_since(last).record
    shown = here.explained(record["id"])
    assert outcomes(shown) == [("one", "asked"), ("two", "untried")]
    assert shown["candidates"][0]["why"].endswith("the client left while it was asked")
    assert (shown["ended_by"], len(shown["attempts"])) == ("client", 1)


def test_a_request_that_makes_no_sense_is_told_not_to_have_been_left(here: Here) -> None:
    here.script("one", answers(chunk({"content": "never"}, "stop")))
    last = here.house.last_id()
    body = {"model": f"either{here.number}", "max_tokens": 9, "messages": [{"role": "nobody", "content": "x"}]}
    with here.house.wire() as wire:
        assert wire.ask("/v1/messages", body, ADMIN_KEY).status == 400
    shown = here.explained(here.house.only_since(last).record["id"])
    assert outcomes(shown) == [("one", "asked"), ("two", "untried")]
    assert shown["candidates"][0]["why"].endswith("the request itself failed before it answered (invalid_value)")


def test_what_was_refused_before_a_deployment_was_considered_has_no_candidates(here: Here) -> None:
    shown = here.explained(here.ask("invented"))
    assert (shown["candidates"], shown["attempts"], shown["error_code"]) == ([], [], "model_not_found")
    assert "before a deployment was considered" in here.command(shown["id"])


def test_a_request_that_its_budget_refused_shows_what_would_have_served(here: Here) -> None:
    key = here.house.new_key(budget={"amount": "0", "currency": "USD"})
    shown = here.explained(here.ask("either", key))
    assert shown["error_code"] == "insufficient_quota"
    assert {outcome for _, outcome in outcomes(shown)} == {"untried"}


@pytest.mark.req("ROUTE-012")
def test_a_price_that_has_changed_since_is_told_not_to_agree(here: Here) -> None:
    answer = here.ask("one")
    path = here.folder / "posthouse.toml"
    before = path.read_text()
    own = f'model = "one{here.number}"\ncurrency = "USD"\n'
    path.write_text(before.replace(f'{own}input = "1.00"', f'{own}input = "3.00"'))
    here.house.admin("POST", "/config/reload")
    shown = here.explained(answer)
    assert (shown["price"]["cost"], shown["price"]["charged"], shown["price"]["agrees"]) == (
        "0.000054",
        "0.000018",
        False,
    )
    path.write_text(provider(here.upstream.base_url, name="other"))
    here.house.admin("POST", "/config/reload")
    assert here.explained(answer)["price"] is None
    path.write_text(before)
    here.house.admin("POST", "/config/reload")


def test_an_id_that_is_none_is_404(here: Here) -> None:
    assert here.explained("req_none", 404)["error"]["type"] == "not_found_error"


# The command


def test_the_command_says_the_same_while_the_server_runs_and_after(here: Here) -> None:
    here.script("one", answers(fault("The tank is empty."), 500))
    answer = here.ask("either")
    request_id = answer.headers["x-request-id"]
    shown = here.explained(answer)
    eventually(lambda: here.house.stored(request_id), "nothing is recorded")
    assert json.loads(here.command(request_id, "--json")) == shown
    text = here.command(request_id)
    assert f"chat.completions of either{here.number}" in text
    assert "ended with 200" in text
    assert f"by main/two{here.number}" in text
    assert "the first by rank, drawn by weight among equals; it failed: server" in text
    assert "The tank is empty." in text
    assert "as charged" in text
    assert "no record" in here.command("req_none", code=1)


@pytest.mark.req("ROUTE-010")
def test_no_secret_is_part_of_an_explanation(here: Here) -> None:
    here.script("one", answers(fault("Incorrect key: upstream-credential-1."), 401))
    answer = here.ask("either")
    assert "upstream-credential" not in json.dumps(here.explained(answer)) + here.command(
        answer.headers["x-request-id"]
    )
