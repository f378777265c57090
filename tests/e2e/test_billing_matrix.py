"""The rules of billing over real sockets: whoever ends a call, and whatever the provider says of its usage.

The matrix: {the client leaves early, mid, late; the upstream ends, errors, resets} x usage {given, absent, zero, twice}
x every billable route x {stream, not}; and two more ways of leaving, in a pause between attempts and from a deployment
that is drained. Each route is asked of a provider that speaks its dialect, and (with usage given and absent) of one
that speaks another. After each call its hold has ended exactly once, the entries carry the cost that the rules of
docs/billing.md give, and a client that leaves takes the upstream's connection with it within a second.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import pytest

from posthouse.billing.prompt import count_request
from posthouse.billing.vocabulary import Vocabularies
from posthouse.core.events import Failed, Finished, TextDelta
from posthouse.core.requests import OPERATIONS, TEXTS, ModelRequest, Operation
from posthouse.dialects import (
    anthropic_messages,
    gemini,
    openai_chat_head,
    openai_completions,
    openai_embeddings,
    openai_responses,
)
from posthouse.dialects.codec import Maker
from posthouse.dialects.codecs import codec_of
from tests.e2e.answers import asked, chunk, fault
from tests.e2e.ends import (
    ENDS,
    TOLD,
    WAIT_A_WHILE,
    End,
    Told,
    check_released,
    check_settled,
    leave,
    leave_in_a_pause,
    leave_unseen,
)
from tests.e2e.house import ADMIN_KEY, PRICE, Place, Stored, provider, running
from tests.e2e.media_routes import MEASURED
from tests.e2e.speakers import SPEAKERS, Tokens, say
from tests.e2e.upstream import Gate, Script, Upstream, Visit
from tests.e2e.wire import Wire, request

INPUT_NANO, OUTPUT_NANO = 1_000, 10_000  # for a token, by the price of the tests
WORDS: Final = ("One", " two", " three")
# Of two reports, the first is the one before.
REPORTS: Final[dict[Told, list[Tokens]]] = {
    "given": [(11, 7)],
    "absent": [],
    "zero": [(0, 0)],
    "twice": [(1_000, 1_000), (11, 7)],
}


class Billable(NamedTuple):
    """One route that costs money: where it is (of a model, whole or streamed), what is asked of it, and how that is
    read."""

    path: Callable[[str, bool], str]
    body: dict[str, Any]
    decode: Callable[[bytes], ModelRequest]


def _at(path: str) -> Callable[[str, bool], str]:
    return lambda model, stream: path


def _verb(model: str, stream: bool) -> str:
    return f"/v1beta/models/{model}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"


_HELLO: Final = [{"role": "user", "content": "Hello"}]
BILLABLE: Final[dict[Operation, Billable]] = {
    "chat.completions": Billable(_at("/v1/chat/completions"), asked(), openai_chat_head.decode_head),
    "responses": Billable(_at("/v1/responses"), {"input": "Hello"}, openai_responses.decode_head),
    "messages": Billable(_at("/v1/messages"), {"messages": _HELLO, "max_tokens": 50}, anthropic_messages.decode_head),
    "generate_content": Billable(
        _verb,
        {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
        lambda body: gemini.decode_head(body, "m", False),
    ),
    "completions": Billable(_at("/v1/completions"), {"prompt": "Hello"}, openai_completions.decode_head),
    "embeddings": Billable(_at("/v1/embeddings"), {"input": "Hello"}, openai_embeddings.decode_head),
}


class Way(NamedTuple):
    """What is asked, of a provider that speaks what, and what that says of usage."""

    route: Operation
    wire: Operation
    told: Told


_OTHERS: Final[tuple[tuple[Operation, Operation], ...]] = (
    ("chat.completions", "messages"),
    ("chat.completions", "responses"),
    ("chat.completions", "generate_content"),
    ("responses", "chat.completions"),
    ("messages", "chat.completions"),
    ("messages", "responses"),
    ("generate_content", "chat.completions"),
    ("completions", "chat.completions"),
)
_SPARSE: Final[tuple[Told, ...]] = ("given", "absent")
WAYS: Final = [
    *(Way(route, route, told) for route in BILLABLE for told in TOLD),
    *(Way(route, wire, told) for route, wire in _OTHERS for told in _SPARSE),
]


def _ways(ways: Sequence[Way]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", [pytest.param(way, id="-".join(way)) for way in ways])


FREE: Final = ("/input_tokens", "/count_tokens")


def _model(wire: Operation, end: End, told: Told, *, stream: bool) -> str:
    match end:
        case "leaves pause":
            # Each pause needs a deployment of its own: one that asked for a pause is left alone until it is over.
            return f"pause-{wire}-{told}-{stream}"
        case "leaves drained":
            return f"d-{wire}"
        case _:
            return f"m-{wire}"


def _config(base_url: str) -> str:
    """For each wire an account that speaks it, and one whose streams are read on when the client has left."""
    config = ""
    for wire in BILLABLE:
        pauses = [_model(wire, "leaves pause", told, stream=stream) for told in TOLD for stream in (True, False)]
        # A route and the same wire, and other routes over it: the pauses of each are their own.
        models = [f"m-{wire}", *(f"{pause}-{route}" for pause in pauses for route in BILLABLE)]
        spoken = "" if wire == "embeddings" else f'wires = ["{wire}"]'
        listed = ", ".join(f'"{model}"' for model in models)
        config += provider(base_url, listed, spoken, name=f"main-{wire}")
        drained = f'on_disconnect = "drain"\n{spoken}'
        config += provider(base_url, f'"d-{wire}"', drained, name=f"drained-{wire}")
        config += PRICE.replace('"m"', f'"m-{wire}"') + PRICE.replace('"m"', f'"d-{wire}"')
    return config


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    environ = {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "2", "POSTHOUSE_ROUTING_COOLDOWN": "0"}
    with Upstream() as upstream:
        config = _config(upstream.base_url) + provider(upstream.base_url) + PRICE
        with running(tmp_path_factory.mktemp("house"), config, environ) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {}


@pytest.fixture(scope="module")
def prompt_tokens() -> dict[str, int]:
    """The input of each route's request, counted by the vocabulary of a model that no family knows."""
    vocabulary = Vocabularies().of("m")
    return {
        name: count_request(billable.decode(json.dumps({"model": "m", **billable.body}).encode()), vocabulary)
        for name, billable in BILLABLE.items()
    }


def test_every_route_that_costs_money_is_in_the_matrix(here: Place) -> None:
    assert set(TEXTS) <= set(BILLABLE) <= set(OPERATIONS)
    billable = set()
    with here.house.wire() as wire:
        for path in here.house.house.door.paths():
            answer = wire.ask(path, {}, ADMIN_KEY)
            if answer.status == 400 and "model parameter" in answer.body.decode():
                billable.add(path)
    paths = {one.path("m", False).removeprefix("/v1") for one in BILLABLE.values() if one.path is not _verb}
    paths |= MEASURED | {"/images/edits"}  # these are in test_media_billing.py and test_forms_billing.py
    assert {path for path in billable if not path.endswith((*paths, *FREE))} == set()
    assert {path for path in paths if path in billable and f"/v1{path}" in billable} == paths
    assert "/v1beta/models/*" in here.house.house.door.paths()


def _asked(route: Operation, model: str, *, stream: bool) -> bytes:
    billable = BILLABLE[route]
    body = {**billable.body, "model": model, **({"stream": True} if stream else {})}
    if route == "generate_content":
        body = billable.body
    return request(billable.path(model, stream), body, ADMIN_KEY)


# --- whole answers ---------------------------------------------------------------------------------------------------
@pytest.mark.req("CHAT-E2E-009")
@pytest.mark.parametrize("end", ENDS)
@_ways(WAYS)
def test_whole_answer_is_billed_by_the_rule(here: Place, prompt_tokens: dict[str, int], way: Way, end: End) -> None:
    route, wire, told = way
    gate = here.upstream.gate()
    model = _model(wire, end, told, stream=False) + (f"-{route}" if end == "leaves pause" else "")
    text = "".join(WORDS)
    here.upstream.scripts["*"] = _whole_script(SPEAKERS[wire].whole(text, REPORTS[told]), end, gate)
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(_asked(route, model, stream=False))
        if end == "leaves pause":
            leave_in_a_pause(here, client, (f"main-{wire}/{model}", route))
        elif end.startswith("leaves"):
            leave(here, client, gate)
        else:
            status = client.response().status
            assert status == (200 if end == "ends" else 502)
    stored = here.house.only_since(before)
    if end == "ends":
        text = "" if route == "embeddings" else text
        _check(stored, _told_or_counted(route, told, prompt_tokens[route], text), "complete")
    elif end == "leaves pause":
        check_released(stored, "client")
    elif end.startswith("leaves"):
        # Nothing of the answer was delivered, but the provider has read the prompt.
        _check(stored, Expected("estimated", prompt_tokens[route], 0), "client")
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
                await visit.whole({**json.loads(body), **fault("The tank is empty.")}, 500)
            case "resets":
                await visit.send(head + body[:-1])
                visit.reset()

    return script


# --- streams ---------------------------------------------------------------------------------------------------------
@pytest.mark.req("CHAT-E2E-009", "CHAT-E2E-014")
@pytest.mark.parametrize("end", ENDS)
@_ways([way for way in WAYS if way.route != "embeddings"])  # nobody's API has a stream
def test_stream_is_billed_by_the_rule(here: Place, prompt_tokens: dict[str, int], way: Way, end: End) -> None:
    route, wire, told = way
    gate = here.upstream.gate()
    model = _model(wire, end, told, stream=True) + (f"-{route}" if end == "leaves pause" else "")
    here.upstream.scripts["*"] = _stream_script(wire, end, REPORTS[told], gate)
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(_asked(route, model, stream=True))
        seen = "" if end in ("leaves early", "leaves pause") else _read_stream(client, route, end, gate)
        if end == "leaves pause":
            leave_in_a_pause(here, client, (f"main-{wire}/{model}", route))
        elif end == "leaves drained":
            leave_unseen(here, client)
            gate.open()
            seen = "".join(WORDS)  # nobody saw it, but it was made
        elif end.startswith("leaves"):
            leave(here, client, gate)
    stored = here.house.only_since(before)
    if end == "leaves pause":
        check_released(stored, "client")
        return
    if end == "leaves early":
        # Whatever the provider would have said: nothing had come but the request.
        _check(stored, Expected("estimated", prompt_tokens[route], 0), "client")
        return
    ended_by = {"ends": "complete", "errors": "upstream", "resets": "upstream"}.get(end, "client")
    assert seen == ("One" if end in ("leaves mid", "errors", "resets") else "".join(WORDS))
    speaker = SPEAKERS[wire]
    unheard = (end == "leaves late" and not speaker.late) or (
        end in ("leaves mid", "errors", "resets") and not speaker.midway
    )
    _check(stored, _told_or_counted(route, "absent" if unheard else told, prompt_tokens[route], seen), ended_by)


def _stream_script(wire: Operation, end: End, reports: Sequence[Tokens], gate: Gate) -> Script:
    speaker = SPEAKERS[wire]

    async def script(visit: Visit) -> None:
        if end == "leaves pause":
            await visit.whole(fault("Not so fast."), 429, WAIT_A_WHILE)
            return
        if end == "leaves early":
            await gate.passed(visit)
        await visit.start_stream()
        await say(visit, speaker.first(WORDS[0]))
        if end in ("leaves mid", "errors", "resets"):
            # Some providers tell their usage as they go.
            await say(visit, [speaker.told(report) for report in reports])
            await gate.passed(visit)
            if end == "errors":
                await say(visit, [speaker.fault("The tank is empty.")])
                await visit.end_stream()
            else:
                visit.reset()
            return
        if end == "leaves drained":
            await gate.passed(visit)
        await say(visit, [speaker.word(word) for word in WORDS[1:]])
        await say(visit, speaker.end(reports))
        if end == "leaves late":
            await gate.passed(visit)
        await say(visit, [speaker.last(reports)])
        await visit.end_stream()

    return script


def _read_stream(client: Wire, route: Operation, end: End, gate: Gate) -> str:
    """Reads as far as the upstream goes before the gate, opens it where the upstream is to go on; the text seen."""
    status, _ = client.head()
    assert status == 200
    decoder = codec_of(route).decoder(Maker("", "", ""))
    expected = "One" if end in ("leaves mid", "errors", "resets", "leaves drained") else "".join(WORDS)
    events = client.events()
    text = ""
    failed = finished = False

    def read(event: bytes) -> None:
        nonlocal text, failed, finished
        for one in decoder.decode(event):
            text += one.text if isinstance(one, TextDelta) else ""
            failed = failed or isinstance(one, Failed)
            finished = finished or isinstance(one, Finished)

    while text != expected:
        assert expected.startswith(text)
        read(next(events))
    if end in ("errors", "resets"):
        # What was told on the way has come before what breaks it.
        assert gate.reached.wait(10)
        gate.open()
        for event in events:
            read(event)
        assert (failed, finished) == (True, False)
    elif end == "ends":
        for event in events:
            read(event)
        assert (failed, finished) == (False, True)
    return text


# --- what is expected ------------------------------------------------------------------------------------------------
class Expected(NamedTuple):
    source: str
    input: int
    output: int

    @property
    def cost(self) -> int:
        return self.input * INPUT_NANO + self.output * OUTPUT_NANO


def _told_or_counted(route: Operation, told: Told, prompt: int, text: str) -> Expected:
    """The last report, else what was delivered, counted."""
    match told:
        case "given" | "twice":
            return Expected("provider", 11, 0 if route == "embeddings" else 7)
        case "zero":
            return Expected("provider", 0, 0)
        case "absent":
            return Expected("estimated", prompt, Vocabularies().of("m").count(text) if text else 0)


def _check(stored: Stored, expected: Expected, ended_by: str) -> None:
    assert (stored.record["input"], stored.record["output"]) == (expected.input, expected.output)
    check_settled(stored, expected.cost, expected.source, ended_by)


# --- beside the matrix -----------------------------------------------------------------------------------------------
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
