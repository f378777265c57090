"""The rules of billing for forms with files, over real sockets: whoever ends a call, whatever its provider says of it,
and whether it is sold by tokens or by units.

The matrix: {the client leaves early, mid, late, in a pause, from what is drained; the upstream ends, errors, resets} x
usage {given, absent, zero, twice} x transcriptions (JSON, with details, plain, subtitles, as they come), translations,
edits and variations. After it: how uploads end.
"""

from collections.abc import Iterator
from typing import Final, Literal

import pytest

from posthouse.core.usage import NO_USAGE, Usage
from tests.e2e.answers import fault
from tests.e2e.ends import (
    ENDS,
    WAIT_A_WHILE,
    End,
    Told,
    check_released,
    check_settled,
    leave,
    leave_in_a_pause,
    leave_unseen,
)
from tests.e2e.form_routes import SOUND, VARIANTS, File, FormVariant, form, head_of, sent
from tests.e2e.house import Place, Stored, provider, running
from tests.e2e.upstream import Gate, Script, Upstream, Visit
from tests.e2e.wire import Wire, eventually, payloads

Sold = Literal["tokens", "units"]
PRICES: Final = """
[[prices]]
model = "{prefix}tokens"
currency = "USD"
input = "1.00"
output = "10.00"

[[prices]]
model = "{prefix}units"
currency = "USD"
image = "0.04"
audio_second = "0.002"
"""
COLUMNS: Final = (
    "input",
    "output",
    "audio_input",
    "image_input",
    "image_output",
    "images",
    "audio_ms",
)
Case = tuple[str, Sold, Told]
CASES: Final[list[Case]] = [
    (name, sold, told)
    for name, variant in VARIANTS.items()
    for sold in ("tokens", "units")
    for told in variant.told
    if sold == "tokens" or told in ("given", "absent")
]
STREAMS: Final = [case for case in CASES if VARIANTS[case[0]].begun]
WHOLE: Final = [case for case in CASES if not VARIANTS[case[0]].begun]


def _ids(cases: list[Case]) -> list[str]:
    return ["-".join(case).replace(" ", "_") for case in cases]


def _model(case: Case, end: End) -> str:
    name, sold, told = case
    match end:
        case "leaves pause":
            # Each pause needs a deployment of its own: one that asked for a pause is left alone until it is over.
            return f"pause-{name.replace(' ', '-')}-{sold}-{told}"
        case "leaves drained":
            return f"d-{sold}"
        case _:
            return f"m-{sold}"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    environ = {
        "POSTHOUSE_ROUTING_MAX_ATTEMPTS": "2",
        "POSTHOUSE_ROUTING_COOLDOWN": "0",
        "POSTHOUSE_SERVER_BODY_LIMIT": str(8 << 20),
    }
    models = ["m-tokens", "m-units", "slow", *(_model(case, "leaves pause") for case in CASES)]
    with Upstream() as upstream:
        config = provider(upstream.base_url, ", ".join(f'"{model}"' for model in models))
        config += provider(upstream.base_url, '"d-tokens", "d-units"', 'on_disconnect = "drain"', name="drained")
        config += PRICES.format(prefix="m-") + PRICES.format(prefix="d-")
        with running(tmp_path_factory.mktemp("house"), config, environ) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.early = {}
    here.upstream.scripts = {}


# --- what is expected -------------------------------------------------------------------------------------------------
def _cost(usage: Usage, sold: Sold) -> int:
    """Nano-units, by the prices above."""
    if sold == "tokens":
        return usage.total_input * 1_000 + usage.total_output * 10_000
    return usage.images * 40_000_000 + usage.audio_ms * 2_000


def _covered(usage: Usage, sold: Sold) -> bool:
    """Whether the price measures what was told: zero of everything is free by any price."""
    if usage == NO_USAGE:
        return True
    if sold == "units":
        return bool(usage.images or usage.audio_ms)
    return bool(usage.total_output if usage.images else usage.total)


def _check(stored: Stored, variant: FormVariant, sold: Sold, told: Told | None, ended_by: str) -> None:
    """By what was told where the price measures it, else by what was expected (`told` None: nothing was heard)."""
    usage, source = None if told is None else variant.usage(told), "provider"
    if usage is None or not _covered(usage, sold):
        usage = variant.expected if told is None else variant.late or variant.expected
        source = "estimated"
    assert [stored.record[name] for name in COLUMNS] == [getattr(usage, name) for name in COLUMNS]
    check_settled(stored, _cost(usage, sold), source, ended_by)
    assert stored.hold is not None
    assert stored.hold["amount"] == _cost(variant.expected, sold)
    assert stored.record["operation"] == variant.operation


# --- whole answers ----------------------------------------------------------------------------------------------------
@pytest.mark.req("UPFORM-006")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("case", WHOLE, ids=_ids(WHOLE))
def test_the_whole_answer_to_a_form_is_billed_by_the_rule(here: Place, case: Case, end: End) -> None:
    name, sold, told = case
    variant = VARIANTS[name]
    gate = here.upstream.gate()
    model, body = _model(case, end), variant.answer(told)
    here.upstream.scripts["*"] = _whole_script(variant.content_type, body, end, gate)
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(sent(variant.path, variant.body(model)))
        if end == "leaves pause":
            leave_in_a_pause(here, client, (f"main/{model}", variant.operation))
        elif end.startswith("leaves"):
            leave(here, client, gate)
        else:
            answer = client.response()
            assert answer.status == (200 if end == "ends" else 502)
            assert end != "ends" or (answer.body, answer.headers["content-type"]) == (body, variant.content_type)
    assert here.upstream.visit().body == variant.body(model)
    stored = here.house.only_since(before)
    if end == "ends":
        _check(stored, variant, sold, told, "complete")
    elif end == "leaves pause":
        check_released(stored, "client")
    elif end.startswith("leaves"):
        # Nothing of the answer was delivered, but the provider is at work.
        _check(stored, variant, sold, None, "client")
    else:
        check_released(stored, "upstream")


def _whole_script(content_type: str, body: bytes, end: End, gate: Gate) -> Script:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n".encode()

    async def script(visit: Visit) -> None:
        match end:
            case "leaves early":
                await gate.passed(visit)
            case "leaves pause":
                await visit.whole(fault("Not so fast."), 429, WAIT_A_WHILE)
            case "leaves mid" | "leaves drained":
                await visit.send(head + body[: len(body) // 2])
                await gate.passed(visit)
            case "leaves late":
                await visit.send(head + body[:-1])
                await gate.passed(visit)
            case "ends":
                await visit.send(head + body)
            case "errors":
                await visit.whole(fault("The tank is empty."))  # under a status of success
            case "resets":
                await visit.send(head + body[:-1])
                visit.reset()

    return script


# --- streams ----------------------------------------------------------------------------------------------------------
@pytest.mark.req("UPFORM-006")
@pytest.mark.parametrize("end", [end for end in ENDS if end != "leaves late"])  # what has the usage is the end
@pytest.mark.parametrize("case", STREAMS, ids=_ids(STREAMS))
def test_the_streamed_answer_to_a_form_is_billed_by_the_rule(here: Place, case: Case, end: End) -> None:
    name, sold, told = case
    variant = VARIANTS[name]
    gate = here.upstream.gate()
    model = _model(case, end)
    here.upstream.scripts["*"] = _stream_script(variant, told, end, gate)
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(sent(variant.path, variant.body(model)))
        if end == "leaves pause":
            leave_in_a_pause(here, client, (f"main/{model}", variant.operation))
        elif end == "leaves early":
            leave(here, client, gate)
        else:
            _read(here, client, variant, (told, end), gate)
    stored = here.house.only_since(before)
    if end == "leaves pause":
        check_released(stored, "client")
        return
    assert stored.record["stream"]
    if end in ("ends", "leaves drained"):
        _check(stored, variant, sold, told, "complete" if end == "ends" else "client")
    else:
        _check(stored, variant, sold, None, "client" if end.startswith("leaves") else "upstream")


def _stream_script(variant: FormVariant, told: Told, end: End, gate: Gate) -> Script:
    async def script(visit: Visit) -> None:
        if end == "leaves pause":
            await visit.whole(fault("Not so fast."), 429, WAIT_A_WHILE)
            return
        if end == "leaves early":
            await gate.passed(visit)
        await visit.start_stream()
        await visit.frame(variant.begun)
        if end in ("leaves mid", "leaves drained", "errors", "resets"):
            await gate.passed(visit)
        if end == "errors":
            await visit.event(fault("The tank is empty."))
        if end == "resets":
            visit.reset()
            return
        if end in ("ends", "leaves drained"):
            await visit.frame(variant.answer(told).removeprefix(variant.begun))
        await visit.end_stream()

    return script


def _read(here: Place, client: Wire, variant: FormVariant, how: tuple[Told, End], gate: Gate) -> None:
    """What the client sees, up to where it leaves; then it leaves, or the upstream goes on."""
    told, end = how
    status, headers = client.head()
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    pieces = client.pieces()
    if end == "ends":
        assert b"".join(pieces) == variant.answer(told)
        return
    assert next(pieces) == variant.begun
    match end:
        case "leaves mid":
            leave(here, client, gate)
        case "leaves drained":
            leave_unseen(here, client)
            gate.open()
        case _:
            assert gate.reached.wait(10)
            gate.open()
            assert payloads(b"".join(pieces))[-1]["error"]["message"]


# --- uploads ----------------------------------------------------------------------------------------------------------
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
    router = here.house.house.router
    assert router is not None
    assert "main/slow" not in {place.deployment for place in router.health.report(0.0)}


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
    check_settled(stored, _cost(came, "units"), "estimated", "complete")
    assert stored.hold is not None
    assert stored.hold["amount"] > 2 * _cost(came, "units")  # as much as a body may be


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
