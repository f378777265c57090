"""The rules of billing for what is no text, over real sockets: whoever ends a call, whatever its provider says of it,
and whether it is sold by tokens or by units.

The matrix: {the client leaves early, mid, late, in a pause, from what is drained; the upstream ends, errors, resets} x
usage {given, absent, zero, twice} x the routes of pictures, speech, moderation and reranking, whole, as events and as
bare bytes. After each call its hold has ended exactly once, at the cost that the rules of docs/billing.md give, and a
client that leaves takes the upstream's connection with it within a second.
"""

import json
from collections.abc import Iterator
from typing import Final, Literal

import pytest

from posthouse.core.requests import MEDIA
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
from tests.e2e.house import ADMIN_KEY, Place, Stored, provider, running
from tests.e2e.media_routes import KIND, SOUND, VARIANTS, Variant
from tests.e2e.upstream import Gate, Script, Upstream, Visit
from tests.e2e.wire import Wire, payloads, request

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
character = "15.00"
search = "0.002"
"""
COLUMNS: Final = ("input", "output", "audio_output", "image_output", "images", "audio_ms", "characters", "searches")
BOTH: Final[tuple[Sold, ...]] = ("tokens", "units")
CASES: Final = [
    (name, sold, told)
    for name, variant in VARIANTS.items()
    for sold in BOTH
    for told in variant.told
    # A moderation is sold by tokens or by the call: there is no unit of it.
    if sold == "tokens" or (told in ("given", "absent") and variant.operation != "moderations")
]


def _cases(*, whole: bool) -> pytest.MarkDecorator:
    found = [case for case in CASES if (VARIANTS[case[0]].whole is not None) == whole]
    return pytest.mark.parametrize(("name", "sold", "told"), found, ids=["-".join(case) for case in found])


def _model(name: str, sold: Sold, told: Told, end: End) -> str:
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
    environ = {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "2", "POSTHOUSE_ROUTING_COOLDOWN": "0"}
    pauses = [_model(*case, "leaves pause") for case in CASES]
    models = ["m-tokens", "m-units", *pauses]
    with Upstream() as upstream:
        config = provider(upstream.base_url, ", ".join(f'"{model}"' for model in models))
        drained = 'on_disconnect = "drain"'
        config += provider(upstream.base_url, '"d-tokens", "d-units"', drained, name="drained")
        config += PRICES.format(prefix="m-") + PRICES.format(prefix="d-")
        with running(tmp_path_factory.mktemp("house"), config, environ) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {}


def test_the_matrix_has_every_operation_with_a_route(here: Place) -> None:
    paths = here.house.house.door.paths()
    routes = {operation for operation in MEDIA if f"/v1/{operation.replace('.', '/')}" in paths}
    assert {variant.operation for variant in VARIANTS.values()} >= routes - UPLOADED


# Their bodies are forms; their own tests have their matrix.
UPLOADED: Final = {"images.edits", "images.variations", "audio.transcriptions", "audio.translations"}


# --- what is expected -------------------------------------------------------------------------------------------------


def _cost(usage: Usage, sold: Sold) -> int:
    """Nano-units, by the prices above."""
    if sold == "tokens":
        return usage.total_input * 1_000 + usage.total_output * 10_000
    return usage.images * 40_000_000 + usage.characters * 15_000 + usage.searches * 2_000_000


def _covered(usage: Usage, sold: Sold) -> bool:
    """Whether the price measures what was told: zero of everything is free by any price."""
    if sold == "units":
        return bool(usage.images or usage.characters or usage.searches) or usage == NO_USAGE
    if usage.images:
        return bool(usage.total_output)
    return bool(usage.total) or usage == NO_USAGE


def _check(stored: Stored, variant: Variant, sold: Sold, told: Told | None, ended_by: str) -> None:
    """By what was told where the price measures it, else by what was expected (`told` None: nothing was heard)."""
    usage = None if told is None else variant.usage(told)
    source = "provider"
    if usage is None or not _covered(usage, sold):
        usage, source = variant.expected, "estimated"
    assert [stored.record[name] for name in COLUMNS] == [getattr(usage, name) for name in COLUMNS]
    assert stored.record["image_kind"] == (KIND if variant.operation.startswith("images") else None)
    check_settled(stored, _cost(usage, sold), source, ended_by)
    assert stored.hold is not None
    assert stored.hold["amount"] == _cost(variant.expected, sold)


# --- whole answers ----------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-011", "MEDIA-012", "MEDIA-013")
@pytest.mark.parametrize("end", ENDS)
@_cases(whole=True)
def test_whole_answer_is_billed_by_the_rule(here: Place, name: str, sold: Sold, told: Told, end: End) -> None:
    variant = VARIANTS[name]
    assert variant.whole is not None
    gate = here.upstream.gate()
    model = _model(name, sold, told, end)
    body = variant.whole(told)
    here.upstream.scripts["*"] = _whole_script(body, end, gate)
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(request(variant.path, {"model": model, **variant.body}, ADMIN_KEY))
        if end == "leaves pause":
            leave_in_a_pause(here, client, (f"main/{model}", variant.operation))
        elif end.startswith("leaves"):
            leave(here, client, gate)
        else:
            answer = client.response()
            assert answer.status == (200 if end == "ends" else 502)
            assert end != "ends" or answer.body == body
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


def _whole_script(body: bytes, end: End, gate: Gate) -> Script:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)

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


# --- answers in pieces ------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-011", "MEDIA-013", "MEDIA-014", "MEDIA-015")
@pytest.mark.parametrize("end", ENDS)
@_cases(whole=False)
def test_answer_in_pieces_is_billed_by_the_rule(here: Place, name: str, sold: Sold, told: Told, end: End) -> None:
    variant = VARIANTS[name]
    if end == "leaves late" and variant.content_type == "text/event-stream":
        return  # the event that has the usage is the end: nobody can leave between
    gate = here.upstream.gate()
    model = _model(name, sold, told, end)
    here.upstream.scripts["*"] = _pieces_script(variant, told, end, gate)
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(request(variant.path, {"model": model, **variant.body}, ADMIN_KEY))
        if end == "leaves pause":
            leave_in_a_pause(here, client, (f"main/{model}", variant.operation))
        elif end == "leaves early":
            leave(here, client, gate)
        else:
            _read(here, client, variant, (told, end), gate)
    stored = here.house.only_since(before)
    if end == "leaves pause":
        check_released(stored, "client")
    elif end in ("ends", "leaves drained"):
        _check(stored, variant, sold, told, "complete" if end == "ends" else "client")
    else:
        # It was begun and is not whole: nobody knows what its provider charges for a part.
        _check(stored, variant, sold, None, "client" if end.startswith("leaves") else "upstream")


def _pieces_script(variant: Variant, told: Told, end: End, gate: Gate) -> Script:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {variant.content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()

    async def script(visit: Visit) -> None:
        if end == "leaves pause":
            await visit.whole(fault("Not so fast."), 429, WAIT_A_WHILE)
            return
        if end == "leaves early":
            await gate.passed(visit)
        await visit.send(head)
        for piece in variant.begins:
            await visit.frame(piece)
        if end in ("leaves mid", "leaves drained", "errors", "resets"):
            await gate.passed(visit)
        if end == "errors" and variant.content_type == "text/event-stream":
            await visit.event(fault("The tank is empty."))
            await visit.end_stream()
            return
        if end == "errors":
            visit.close()  # bare bytes have no other way
            return
        if end == "resets":
            visit.reset()
            return
        for piece in variant.ends(told):
            await visit.frame(piece)
        if end == "leaves late":
            await gate.passed(visit)
        await visit.end_stream()

    return script


def _read(here: Place, client: Wire, variant: Variant, how: tuple[Told, End], gate: Gate) -> None:
    """What the client sees, up to where it leaves; then it leaves, or the upstream goes on."""
    told, end = how
    status, headers = client.head()
    assert status == 200
    assert headers["content-type"].startswith(variant.content_type)
    pieces = client.pieces()
    seen = b""
    begun = b"".join(variant.begins)
    whole = begun + b"".join(variant.ends(told))
    if end != "ends":
        enough = len(whole) - 4 if end == "leaves late" else len(begun) - 4
        while len(seen) < enough:
            seen += next(pieces)
    match end:
        case "leaves mid" | "leaves late":
            leave(here, client, gate)
        case "leaves drained":
            leave_unseen(here, client)
            gate.open()
        case "errors" | "resets":
            assert gate.reached.wait(10)
            gate.open()
            _breaks(client, variant, seen)
        case _:
            assert b"".join(pieces) == whole


def _breaks(client: Wire, variant: Variant, seen: bytes) -> None:
    """A stream of events ends with one that says what is wrong; bare bytes break off, so that nobody takes them for
    whole."""
    if variant.content_type == "text/event-stream":
        rest = b"".join(client.pieces())
        assert payloads(seen + rest)[-1]["error"]["message"]
    else:
        rest = client.rest()
        assert not rest.endswith(b"0\r\n\r\n")
        assert SOUND.startswith(seen)


# --- beside the matrix ------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-013")
def test_what_fails_before_anything_has_come_costs_nothing_and_is_tried_elsewhere(here: Place) -> None:
    visits = 0

    async def script(visit: Visit) -> None:
        nonlocal visits
        visits += 1
        if visits == 1:
            await visit.whole({"error": {"message": "No voice today.", "code": "overloaded_error"}})
            return
        await visit.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: %d\r\n\r\n" % len(SOUND) + SOUND
        )

    here.upstream.scripts["*"] = script
    before = here.house.last_id()
    variant = VARIANTS["speech"]
    with here.house.wire() as client:
        answer = client.ask(variant.path, {"model": "m-units", **variant.body}, ADMIN_KEY)
    assert (answer.status, answer.body, answer.headers["x-posthouse-attempts"]) == (200, SOUND, "2")
    _check(here.house.only_since(before), variant, "units", None, "complete")


@pytest.mark.req("MEDIA-012")
def test_an_answer_that_holds_nothing_costs_nothing(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.whole(json.loads('{"created": 1, "data": []}'))

    here.upstream.scripts["*"] = script
    before = here.house.last_id()
    variant = VARIANTS["images"]
    with here.house.wire() as client:
        assert client.ask(variant.path, {"model": "m-units", **variant.body}, ADMIN_KEY).status == 502
    check_released(here.house.only_since(before), "upstream")
