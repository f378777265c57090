"""Any dialect in, any dialect out, through a running house: every face before a provider of every wire."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from posthouse.core.requests import TEXTS, Operation
from tests.dialects.natives import CALLS, OWN_STATES, STREAMS, THOUGHT, TOKENS, WHOLE, WORDS, kept, replayed
from tests.dialects.told import judge
from tests.e2e.answers import answers
from tests.e2e.ends import leave
from tests.e2e.faces import FACES, FAULTS, PIXEL, SCHEMA, TOO_MANY, WHY, WIRES, Fault, Json, refusal
from tests.e2e.house import ADMIN_KEY, PRICE, Place, place, provider, running
from tests.e2e.speakers import SPEAKERS, Report, say
from tests.e2e.upstream import Script, Upstream, Visit
from tests.e2e.wire import Response, Wire, payloads, request

PIECES: Final = ("One", " two", " three")
REPORTED: Final = Report(11, 7)
ABLE: Final[tuple[Operation, ...]] = ("chat.completions", "responses", "messages", "generate_content")
every_face = pytest.mark.parametrize("face", TEXTS)
able_faces = pytest.mark.parametrize("face", ABLE)
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module", params=TEXTS)
def wire(request: pytest.FixtureRequest) -> Operation:
    chosen: Operation = request.param
    return chosen


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, wire: Operation) -> Iterator[Place]:
    """A house whose provider speaks this wire and no other. A model that asks for a pause is left alone for that time,
    so that each face has one of its own to be refused by."""
    environ = {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "1", "POSTHOUSE_ROUTING_COOLDOWN": "0"}
    models = ", ".join(f'"{model}"' for model in ("m", *(_slow(face, stream) for face in TEXTS for stream in (0, 1))))
    with Upstream() as upstream:
        config = provider(upstream.base_url, models, f'wires = ["{wire}"]') + PRICE
        with running(tmp_path_factory.mktemp("house"), config, environ) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {}


def _slow(face: Operation, stream: bool | int) -> str:
    return f"slow-{face}-{int(stream)}"


def body_of(face: Operation, body: Json, stream: bool, model: str = "m") -> Json:
    if face == "generate_content":
        return body
    return {"model": model, **body, **({"stream": True, **FACES[face].usage} if stream else {})}


def ask(here: Place, face: Operation, body: Json, *, stream: bool = False, model: str = "m") -> Response:
    with here.house.wire() as wire:
        return wire.ask(FACES[face].path(model, stream), body_of(face, body, stream, model), ADMIN_KEY)


def heard(face: Operation, wire: Operation, answer: Response, stream: bool) -> Json:
    """A whole answer, or a stream put together as a client does, which is legal by its dialect's table."""
    assert answer.status == 200, answer
    if not stream:
        whole: Json = answer.json
        return whole
    if face != wire:
        judge(face, answer.body)
    return kept(face, answer.body)


def says(wire: Operation, stream: bool) -> Script:
    """The provider answers, and reports usage."""
    speaker = SPEAKERS[wire]
    if not stream:
        return answers(speaker.whole("".join(PIECES), [REPORTED]))

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        first, *more = PIECES
        reports = [REPORTED]
        words = [speaker.word(one) for one in more]
        await say(visit, [*speaker.first(first), *words, *speaker.end(reports), speaker.last(reports)])
        await visit.end_stream()

    return script


def turn(wire: Operation, stream: bool) -> Script:
    """The provider thinks, says something and calls two tools."""
    if not stream:
        return answers(WHOLE[wire])

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        data = STREAMS[wire]
        for start in range(0, len(data), 61):
            await visit.frame(data[start : start + 61])
        await visit.end_stream()

    return script


# --- answers ---------------------------------------------------------------------------------------------------------
@pytest.mark.req("PAIR-E2E-001")
@either
@every_face
def test_an_answer_comes_in_the_words_of_the_client_and_is_billed_as_the_provider_says(
    here: Place, wire: Operation, face: Operation, stream: bool
) -> None:
    here.upstream.scripts["*"] = says(wire, stream)
    answer = ask(here, face, FACES[face].ask("Hi there"), stream=stream)
    found = heard(face, wire, answer, stream)
    assert FACES[face].words(found) == "".join(PIECES)
    assert FACES[face].tokens(found) == REPORTED[:2]
    assert FACES[face].why(found) == WHY[face][0]
    assert "Hi there" in here.upstream.visit().body.decode()
    assert "x-posthouse-dropped" not in answer.headers
    stored = here.house.stored(answer.headers["x-request-id"])
    assert (stored.record["operation"], stored.record["usage_source"]) == (face, "provider")
    assert (stored.record["input"], stored.record["output"]) == REPORTED[:2]
    assert stored.record["cost"] == REPORTED[0] * 1_000 + REPORTED[1] * 10_000
    assert [leg["amount"] for leg in stored.entries] == [stored.record["cost"], -stored.record["cost"]]


@pytest.mark.req("PAIR-E2E-001")
def test_a_stream_of_gemini_may_be_one_array(here: Place, wire: Operation) -> None:
    """Where its client does not ask for events."""
    here.upstream.scripts["*"] = says(wire, True)
    with here.house.wire() as client:
        body = FACES["generate_content"].ask("Hi there")
        answer = client.ask("/v1beta/models/m:streamGenerateContent", body, ADMIN_KEY)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert len(answer.json) > 1
    events = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in answer.json)
    found = heard("generate_content", wire, answer._replace(body=events), True)
    assert FACES["generate_content"].words(found) == "".join(PIECES)
    assert FACES["generate_content"].tokens(found) == REPORTED[:2]
    stored = here.house.stored(answer.headers["x-request-id"])
    assert (stored.record["input"], stored.record["output"]) == REPORTED[:2]


@pytest.mark.req("PAIR-E2E-002")
@either
@able_faces
def test_two_calls_at_once_are_made_answered_and_their_states_come_back(
    here: Place, wire: Operation, face: Operation, stream: bool
) -> None:
    if wire == "completions":
        _loses(here, face, {**FACES[face].ask("Go on."), **(FACES[face].tools or {})}, "tools", stream)
        return
    here.upstream.scripts["*"] = turn(wire, stream)
    first = {**FACES[face].ask("Go on."), **(FACES[face].tools or {})}
    found = heard(face, wire, ask(here, face, first, stream=stream), stream)
    assert WIRES[wire].tools(here.upstream.visit().json) == ["look"]
    assert FACES[face].calls(found) == list(CALLS)
    assert FACES[face].words(found) == WORDS
    assert THOUGHT in json.dumps(found)
    assert FACES[face].tokens(found) == TOKENS
    assert FACES[face].why(found) == WHY[face][1]
    here.upstream.scripts["*"] = says(wire, stream)
    answer = ask(here, face, {**first, **replayed(face, found)}, stream=stream)
    assert FACES[face].words(heard(face, wire, answer, stream)) == "".join(PIECES)
    sent = here.upstream.visit()
    assert WIRES[wire].results(sent.json) == [(one[0], f"found {one[2]['city']}") for one in CALLS]
    assert b"ph1." not in sent.body and b"cGgx" not in sent.body
    for state in OWN_STATES.get(wire, ()):
        assert json.loads(state) in list(_values(sent.json))
        assert stream or face == wire or state in sent.body


def _values(value: Any) -> Iterator[Any]:
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _values(inner)


def _loses(here: Place, face: Operation, body: Json, name: str, stream: bool) -> None:
    """A provider without a word for it is asked all the same, and the client is told."""
    here.upstream.scripts["*"] = says("completions", stream)
    answer = ask(here, face, body, stream=stream)
    assert FACES[face].words(heard(face, "completions", answer, stream)) == "".join(PIECES)
    assert name in answer.headers["x-posthouse-dropped"]


@pytest.mark.req("PAIR-E2E-003")
@either
@able_faces
def test_a_schema_and_an_image_reach_the_provider(here: Place, wire: Operation, face: Operation, stream: bool) -> None:
    form, image = {**FACES[face].ask("Where?"), **(FACES[face].schema or {})}, FACES[face].image or {}
    if wire == "completions":
        (member,) = (FACES[face].schema or {}).keys()
        _loses(here, face, form, member, stream)
        _loses(here, face, image, "inlineData" if face == "generate_content" else "image", stream)
        return
    here.upstream.scripts["*"] = says(wire, stream)
    found = heard(face, wire, ask(here, face, form, stream=stream), stream)
    assert FACES[face].words(found) == "".join(PIECES)
    assert WIRES[wire].schema(here.upstream.visit().json) == SCHEMA
    answer = ask(here, face, image, stream=stream)
    assert answer.status == 200
    assert "x-posthouse-dropped" not in answer.headers
    sent = here.upstream.visit().body.decode()
    assert PIXEL in sent and "image/png" in sent and "What is it?" in sent


# --- errors ----------------------------------------------------------------------------------------------------------
def check_error(face: Operation, answer: Response, fault: Fault) -> None:
    assert answer.status == fault.told, answer
    assert answer.headers["content-type"] == "application/json"
    kind, message = FACES[face].error(answer.json)
    assert kind == FACES[face].kinds[fault.told]
    assert fault.message in message
    if fault.code is not None:
        assert fault.code.lower() in answer.body.decode().lower()


@pytest.mark.req("PAIR-E2E-004")
@either
@pytest.mark.parametrize("name", FAULTS)
@every_face
def test_a_refusal_is_told_in_the_words_of_the_client(
    here: Place, wire: Operation, face: Operation, name: str, stream: bool
) -> None:
    fault = FAULTS[name]
    here.upstream.scripts["*"] = answers(refusal(wire, fault), fault.status)
    check_error(face, ask(here, face, FACES[face].ask("Hi"), stream=stream), fault)


@pytest.mark.req("PAIR-E2E-004")
@either
@every_face
def test_a_limit_says_when_to_come_back(here: Place, wire: Operation, face: Operation, stream: bool) -> None:
    here.upstream.scripts["*"] = answers(refusal(wire, TOO_MANY), 429, TOO_MANY.headers)
    answer = ask(here, face, FACES[face].ask("Hi"), stream=stream, model=_slow(face, stream))
    check_error(face, answer, TOO_MANY)
    assert answer.headers["retry-after"] in ("17", "18")


@pytest.mark.req("PAIR-E2E-005")
@either
@every_face
def test_an_error_under_a_status_of_success_is_one(here: Place, wire: Operation, face: Operation, stream: bool) -> None:
    fault = FAULTS["filtered"]
    body = json.dumps(refusal(wire, fault)).encode()
    name = b"event: error\n" if wire == "messages" else b""

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.frame(name + b"data: " + body + b"\n\n")
        await visit.end_stream()

    here.upstream.scripts["*"] = script if stream else answers(body)
    check_error(face, ask(here, face, FACES[face].ask("Hi"), stream=stream), fault)


@pytest.mark.req("PAIR-E2E-006")
@pytest.mark.parametrize("how", ["says so", "breaks off"])
@every_face
def test_a_stream_that_breaks_ends_with_one_error_of_the_clients_dialect(
    here: Place, wire: Operation, face: Operation, how: str
) -> None:
    speaker = SPEAKERS[wire]
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await say(visit, [*speaker.first("Hel"), speaker.word("lo")])
        await gate.passed(visit)
        if how == "says so":
            await say(visit, [speaker.fault("The tank is empty."), *speaker.end([REPORTED]), speaker.last([REPORTED])])
        await visit.end_stream()

    here.upstream.scripts["*"] = script
    with here.house.wire() as client:
        client.send(request(FACES[face].path("m", True), body_of(face, FACES[face].ask("Hi"), True), ADMIN_KEY))
        _, headers = client.head()
        pieces = client.pieces()
        stream = next(pieces)
        gate.open()
        stream += b"".join(pieces)
    events = [event for event in data_in(stream) if event != "[DONE]"]
    broken = [index for index, event in enumerate(events) if FACES[face].broke(event)]
    assert broken and broken == list(range(broken[0], len(events)))
    assert len(broken) == (2 if face == "responses" else 1)
    if how == "says so":
        assert "The tank is empty." in json.dumps(events[-1])
    stored = here.house.stored(headers["x-request-id"])
    assert (stored.record["ended_by"], stored.record["hold_state"]) == ("upstream", "settled")


def data_in(stream: bytes) -> list[Any]:
    """Of events with and without names."""
    found = [line for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return payloads(b"\n\n".join(found) + b"\n\n")


# --- providers that are silent ----------------------------------------------------------------------------------------
SILENCES: Final = ("at-first", "midway")


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory, wire: Operation) -> Iterator[Place]:
    environ = {"POSTHOUSE_SERVER_HEARTBEAT": "0.05"}
    models, more = ", ".join(f'"{when}"' for when in SILENCES), f'wires = ["{wire}"]'
    with place(tmp_path_factory.mktemp("house"), environ=environ, models=models, more=more) as made:
        yield made


# What a client of gemini does not know it takes for an error: it gets a blank line.
BEATS: Final[dict[Operation, bytes]] = {face: b": keep-alive\n\n" for face in TEXTS} | {"generate_content": b"\n\n"}


@pytest.mark.req("PAIR-E2E-008")
def test_what_keeps_a_silent_stream_open_is_legal_in_every_dialect(patient: Place, wire: Operation) -> None:
    gate = patient.upstream.gate()
    speaker, reports = SPEAKERS[wire], [REPORTED]
    first, *more = PIECES

    async def script(visit: Visit) -> None:
        when = next(one for one in SILENCES if one in (visit.model or visit.path))  # gemini's model is in its address
        if when == "at-first":
            await gate.passed(visit)
        await visit.start_stream()
        await say(visit, speaker.first(first))
        if when == "midway":
            await gate.passed(visit)
        await say(visit, [*map(speaker.word, more), *speaker.end(reports), speaker.last(reports)])
        await visit.end_stream()

    patient.upstream.scripts["*"] = script
    with ExitStack() as stack:
        clients = {(face, when): stack.enter_context(patient.house.wire()) for face in TEXTS for when in SILENCES}
        for (face, when), client in clients.items():
            body = body_of(face, FACES[face].ask("Hi"), True, when)
            client.send(request(FACES[face].path(when, True), body, ADMIN_KEY))
        begun = {place: _until_silent(client, BEATS[place[0]]) for place, client in clients.items()}
        gate.open()
        for (face, when), client in clients.items():
            assert (begun[face, when] == b"") == (when == "at-first")
            whole = begun[face, when] + b"".join(piece for piece in client.pieces() if piece != BEATS[face])
            if face != wire:
                judge(face, whole)
            assert FACES[face].words(kept(face, whole)) == "".join(PIECES)
            assert FACES[face].tokens(kept(face, whole)) == REPORTED[:2]


def _until_silent(client: Wire, beat: bytes) -> bytes:
    """What comes before the first sign of life, which is that of the client's dialect."""
    status, headers = client.head()
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    begun = b""
    for piece in client.pieces():
        if piece == beat:
            return begun
        begun += piece
    raise AssertionError(begun)


# --- clients that leave ----------------------------------------------------------------------------------------------
@pytest.mark.req("PAIR-E2E-007")
@every_face
def test_a_client_that_leaves_takes_the_provider_with_it_and_is_billed_once(
    here: Place, wire: Operation, face: Operation
) -> None:
    gate = here.upstream.gate()
    speaker = SPEAKERS[wire]

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await say(visit, [*speaker.first("Hel"), speaker.word("lo")])
        await gate.passed(visit)

    here.upstream.scripts["*"] = script
    before = here.house.last_id()
    with here.house.wire() as client:
        body = body_of(face, FACES[face].ask("Hi"), True)
        client.send(request(FACES[face].path("m", True), body, ADMIN_KEY))
        client.head()
        client.until(b"\n\n")
        leave(here, client, gate)
    stored = here.house.only_since(before)
    assert (stored.record["ended_by"], stored.record["usage_source"]) == ("client", "estimated")
    assert stored.record["output"] > 0
    assert (stored.record["hold_state"], len(stored.entries)) == ("settled", 2)
