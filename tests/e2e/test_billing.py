"""The rules of billing beside the matrix: what fails before anything has come, and what is refused, costs nothing."""

from collections.abc import Iterator

import pytest

from tests.e2e.answers import answers, asked, chunk, fault
from tests.e2e.billable import PRICES, cost
from tests.e2e.ends import check_released, check_settled
from tests.e2e.house import ADMIN_KEY, PRICE, Place, provider, running
from tests.e2e.media_routes import SOUND, VARIANTS
from tests.e2e.upstream import Upstream, Visit
from tests.e2e.wire import Response


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    environ = {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "2", "POSTHOUSE_ROUTING_COOLDOWN": "0"}
    with Upstream() as upstream:
        prices = f'{PRICE}\n[[prices]]\nmodel = "units"\ncurrency = "USD"\n{PRICES["units"]}'
        config = provider(upstream.base_url, '"m", "units"') + prices
        with running(tmp_path_factory.mktemp("house"), config, environ) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {}


def ask(here: Place, name: str) -> Response:
    """One of the routes that are no texts, of a model that is sold by units."""
    variant = VARIANTS[name]
    with here.house.wire() as client:
        return client.ask(variant.path, {"model": "units", **variant.body}, ADMIN_KEY)


def test_a_stream_that_fails_before_its_first_content_costs_nothing(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event(chunk({"role": "assistant", "content": ""}))
        await visit.event(fault("The tank is empty."))

    here.upstream.scripts["m"] = script
    before = here.house.last_id()
    with here.house.wire() as wire:
        assert wire.ask("/v1/chat/completions", asked(stream=True), ADMIN_KEY).status == 502
    check_released(here.house.only_since(before), "upstream")


def test_a_request_that_is_refused_costs_nothing(here: Place) -> None:
    before = here.house.last_id()
    with here.house.wire() as wire:
        assert wire.ask("/v1/chat/completions", asked("no-such-model"), ADMIN_KEY).status == 404
    stored = here.house.only_since(before)
    assert (stored.record["cost"], stored.hold, stored.entries) == (None, None, [])
    assert stored.record["status"] == 404


@pytest.mark.req("MEDIA-013")
def test_what_fails_before_anything_has_come_costs_nothing_and_is_tried_elsewhere(here: Place) -> None:
    visits = 0

    async def script(visit: Visit) -> None:
        nonlocal visits
        visits += 1
        if visits == 1:
            await visit.whole({"error": {"message": "No voice today.", "code": "overloaded_error"}})
            return
        await visit.whole(SOUND, extra="content-type: audio/mpeg\r\n")

    here.upstream.scripts["*"] = script
    before = here.house.last_id()
    answer = ask(here, "speech")
    assert (answer.status, answer.body, answer.headers["x-posthouse-attempts"]) == (200, SOUND, "2")
    stored, expected = here.house.only_since(before), VARIANTS["speech"].expected
    assert stored.record["characters"] == expected.characters
    check_settled(stored, cost(expected, "units"), "estimated", "complete")
    assert stored.hold is not None
    assert stored.hold["amount"] == cost(expected, "units")


@pytest.mark.req("MEDIA-012")
def test_an_answer_that_holds_nothing_costs_nothing(here: Place) -> None:
    here.upstream.scripts["*"] = answers({"created": 1, "data": []})
    before = here.house.last_id()
    assert ask(here, "images").status == 502
    check_released(here.house.only_since(before), "upstream")
