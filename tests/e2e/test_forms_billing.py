"""The rules of billing for forms with files, beside the matrix: how uploads end, and who is asked again."""

from collections.abc import Iterator
from typing import Final

import pytest

from posthouse.core.usage import Usage
from tests.e2e.answers import fault
from tests.e2e.billable import PRICES, cost
from tests.e2e.ends import check_released, check_settled
from tests.e2e.form_routes import SOUND, File, form, head_of, sent
from tests.e2e.house import Place, provider, running
from tests.e2e.upstream import Upstream, Visit
from tests.e2e.wire import eventually


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    environ = {
        "POSTHOUSE_ROUTING_MAX_ATTEMPTS": "2",
        "POSTHOUSE_ROUTING_COOLDOWN": "0",
        "POSTHOUSE_SERVER_BODY_LIMIT": str(8 << 20),
    }
    with Upstream() as upstream:
        config = provider(upstream.base_url, '"m-tokens", "m-units", "slow"')
        for model, sold in (("m-tokens", PRICES["tokens"]), ("m-units", PRICES["time"])):
            config += f'[[prices]]\nmodel = "{model}"\ncurrency = "USD"\n{sold}\n'
        with running(tmp_path_factory.mktemp("house"), config, environ) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.early = {}
    here.upstream.scripts = {}


LARGE: Final = form([("model", "m-units")], [File("file", "a.ogg", SOUND * 300)])  # 3 MB: more than is kept


async def _reads_on(visit: Visit) -> None:
    async for _ in visit.pieces():
        pass
    await visit.whole({"text": "One"})


@pytest.mark.req("UPFORM-003")
@pytest.mark.parametrize("length", [len(LARGE), None])
def test_a_client_that_leaves_during_its_upload_pays_nothing(here: Place, length: int | None) -> None:
    here.upstream.early["/v1/audio/transcriptions"] = _reads_on
    before = here.house.last_id()
    first = LARGE[:2_000_000]
    with here.house.wire() as client:
        client.send(head_of("/v1/audio/transcriptions", length))
        client.send(first if length else b"%x\r\n%b\r\n" % (len(first), first))
        visit = here.upstream.visit()
        left = client.leave()
    assert visit.left.wait(10)
    assert visit.left_at - left < 1.0
    check_released(here.house.only_since(before), "client")


@pytest.mark.req("UPFORM-003")
def test_an_upload_that_is_cut_is_refused_and_costs_nothing(here: Place) -> None:
    here.upstream.early["/v1/audio/transcriptions"] = _reads_on
    before = here.house.last_id()
    cut = LARGE[:2_500_000]
    with here.house.wire() as client:
        client.send(head_of("/v1/audio/transcriptions", len(cut)) + cut)
        answer = client.response()
    assert (answer.status, answer.error["code"]) == (400, "invalid_form")
    visit = here.upstream.visit()
    assert visit.left.wait(10)
    stored = here.house.only_since(before)
    check_released(stored, "error")
    assert stored.record["attempts"] == 1


@pytest.mark.req("UPFORM-004")
def test_a_provider_that_refuses_before_the_upload_is_over_is_heard(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.whole(fault("No such sound.", type="invalid_request_error"), 400, "connection: close\r\n")
        await visit.until_left()
        visit.close()

    here.upstream.early["/v1/audio/transcriptions"] = script
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(head_of("/v1/audio/transcriptions", len(LARGE)) + LARGE[:2_000_000])
        answer = client.response()
    assert (answer.status, answer.error["message"]) == (400, "No such sound.")
    assert answer.headers["connection"] == "close"
    check_released(here.house.only_since(before), "upstream")


@pytest.mark.req("UPFORM-004")
def test_a_client_that_sends_too_slowly_for_a_provider_brings_it_into_no_disrepute(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.reader.readexactly(1_000_000)
        await visit.whole(fault("Too slow."), 408, "connection: close\r\n")
        await visit.until_left()
        visit.close()

    here.upstream.early["/v1/audio/transcriptions"] = script
    for _ in range(4):
        with here.house.wire() as client:
            body = LARGE.replace(b"m-units", b"slow")
            client.send(head_of("/v1/audio/transcriptions", len(body)) + body[:2_000_000])
            assert client.response().status == 504
    assert "main/slow" not in {deployment for deployment, _ in here.house.troubled()}


@pytest.mark.req("UPFORM-002")
def test_a_long_upload_is_charged_by_what_came_where_its_length_was_not_said(here: Place) -> None:
    here.upstream.early["/v1/audio/transcriptions"] = _reads_on
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(head_of("/v1/audio/transcriptions", None))
        for at in range(0, len(LARGE), 500_000):
            piece = LARGE[at : at + 500_000]
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        assert client.response().json == {"text": "One"}
    stored = here.house.only_since(before)
    came = Usage(audio_ms=len(SOUND) * 300 // 2 + 1)
    assert stored.record["audio_ms"] == came.audio_ms
    check_settled(stored, cost(came, "time"), "estimated", "complete")
    assert stored.hold is not None
    assert stored.hold["amount"] > 2 * cost(came, "time")  # as much as a body may be


@pytest.mark.req("UPFORM-005")
def test_a_small_form_is_sent_to_another_provider_and_a_long_one_only_while_all_of_it_is_here(here: Place) -> None:
    visits = []

    async def script(visit: Visit) -> None:
        visits.append(0)
        async for piece in visit.pieces():
            visits[-1] += len(piece)
        await visit.whole(fault("Too much to do."), 503)

    here.upstream.early["/v1/audio/transcriptions"] = script
    small = form([("model", "m-tokens")], [File("file", "a.ogg", SOUND)])
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(sent("/v1/audio/transcriptions", small))
        assert client.response().status == 503
    assert visits == [len(small)] * 2
    assert here.house.only_since(before).record["attempts"] == 2
    visits.clear()
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(sent("/v1/audio/transcriptions", LARGE.replace(b"m-units", b"m-tokens")))
        assert client.response().status == 503
    assert visits == [len(LARGE) + 1]
    assert here.house.only_since(before).record["attempts"] == 1


@pytest.mark.req("UPFORM-005")
def test_a_long_form_of_which_nothing_is_gone_goes_to_another_connection(here: Place) -> None:
    """The provider resets the connection before the client has sent more than what is kept."""
    gate = here.upstream.gate()
    heads = []

    async def script(visit: Visit) -> None:
        heads.append(visit.head)
        if len(heads) == 1:
            visit.reset()
            gate.open()
            return
        await _reads_on(visit)

    here.upstream.early["/v1/audio/transcriptions"] = script
    with here.house.wire() as client:
        client.send(head_of("/v1/audio/transcriptions", len(LARGE)) + LARGE[:5_000])
        eventually(lambda: len(heads) == 2, "nobody else was asked")
        client.send(LARGE[5_000:])
        answer = client.response()
    assert (answer.status, answer.json, answer.headers["x-posthouse-attempts"]) == (200, {"text": "One"}, "2")
