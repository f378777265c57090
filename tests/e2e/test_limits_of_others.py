"""Limits besides those of a key and its account: accounts above it, single models, addresses, images."""

from collections.abc import Iterator
from typing import Any, Final

import httpx2
import pytest

from tests.e2e.answers import asked
from tests.e2e.house import ADMIN_KEY, RunningHouse, running

CONFIG: Final = """
[server]
trusted_proxies = ["127.0.0.1"]

[limits]
address = { rpm = 3 }

[[limits.models]]
name = "echo-2"
rpm = 2

[[providers]]
name = "here"
type = "echo"
models = ["echo", "echo-image", { name = "echo-2", upstream = "echo" }]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    with running(tmp_path_factory.mktemp("house"), CONFIG) as made:
        yield made
        made.verified()


def ask(house: RunningHouse, key: str, address: str, model: str = "echo") -> httpx2.Response:
    with house.client(key) as client:
        return client.post("/v1/chat/completions", json=asked(model=model), headers={"x-forwarded-for": address})


def account(house: RunningHouse, name: str, **wish: Any) -> str:
    made: str = house.admin("POST", "/accounts", {"name": name, **wish})["id"]
    return made


@pytest.mark.req("ACCOUNT-009")
def test_an_account_far_above_a_key_limits_it(house: RunningHouse) -> None:
    company = account(house, "company", limits={"rpm": 2})
    account(house, "team", parent=company)
    person = account(house, "person", parent="team", limits={"rpm": 100})
    keys = [house.new_key(account=owner) for owner in (person, "team", company)]
    answers = [ask(house, key, f"198.51.100.{number}") for number, key in enumerate(keys)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "this account" in answers[2].json()["error"]["message"]


def test_what_an_account_above_does_not_allow_its_keys_may_not_ask(house: RunningHouse) -> None:
    parent = account(house, "narrow", models=["echo-image"])
    child = account(house, "below narrow", parent=parent, models=["echo", "echo-image"])
    refused = ask(house, house.new_key(account=child), "198.51.100.10")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")


@pytest.mark.req("LIMIT-101")
def test_a_model_is_limited_for_all_callers_together(house: RunningHouse) -> None:
    keys = [house.new_key() for _ in range(3)]
    answers = [ask(house, key, f"198.51.100.{20 + number}", "echo-2") for number, key in enumerate(keys)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "this model" in answers[2].json()["error"]["message"]
    assert ask(house, keys[0], "198.51.100.29").status_code == 200


@pytest.mark.req("LIMIT-102")
def test_a_key_may_be_limited_for_one_model(house: RunningHouse) -> None:
    key = house.new_key(limits={"models": {"echo": {"rpm": 1}}})
    assert [ask(house, key, "198.51.100.30").status_code for _ in range(2)] == [200, 429]
    assert ask(house, house.new_key(), "198.51.100.31").status_code == 200


@pytest.mark.req("LIMIT-103")
def test_an_address_is_limited_whatever_its_keys(house: RunningHouse) -> None:
    answers = [ask(house, house.new_key(), "198.51.100.40") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert "this address" in answers[3].json()["error"]["message"]
    assert ask(house, house.new_key(), "invented, 198.51.100.40").status_code == 429
    assert ask(house, house.new_key(), "198.51.100.41").status_code == 200


@pytest.mark.req("LIMIT-104")
def test_images_are_counted_by_what_was_asked_for_and_settled_by_what_was_made(house: RunningHouse) -> None:
    key = house.new_key(limits={"ipm": 3})

    def draw(number: int) -> httpx2.Response:
        body = {"model": "echo-image", "prompt": "a cat", "size": "64x64", "n": number}
        with house.client(key) as client:
            return client.post(
                "/v1/images/generations", json=body, headers={"x-forwarded-for": f"198.51.100.{50 + number}"}
            )

    assert draw(2).status_code == 200
    refused = draw(2)
    assert refused.status_code == 429
    assert "images per minute: limit 3, wanted 2" in refused.json()["error"]["message"]
    assert draw(1).status_code == 200
    assert draw(4).headers["x-should-retry"] == "false"


def test_the_admin_key_is_limited_by_address_too(house: RunningHouse) -> None:
    answers = [ask(house, ADMIN_KEY, "198.51.100.60") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
