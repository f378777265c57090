"""The rules of billing over real sockets: whoever ends a call, and whatever the provider says of its usage.

The matrix: {the client leaves early, mid, late; the upstream ends, errors, resets} x usage {given, absent, zero, twice}
x every billable route x {stream, not}; and two more ways of leaving, in a pause between attempts and from a deployment
that is drained. After each call its hold has ended exactly once, the entries carry the cost that the rules of
docs/billing.md give, and a client that leaves takes the upstream's connection with it within a second.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple, get_args

import pytest

from posthouse.billing.prompt import count_request
from posthouse.billing.vocabulary import Vocabularies
from posthouse.core.requests import OPERATIONS, ModelRequest
from posthouse.dialects import openai_chat_head, openai_embeddings
from tests.e2e.answers import USAGE, ZERO, asked, chunk, completion, embedded, fault
from tests.e2e.house import ADMIN_KEY, PRICE, Place, Stored, provider, running
from tests.e2e.upstream import Gate, Script, Upstream, Visit
from tests.e2e.wire import Wire, eventually, request

End = Literal["leaves early", "leaves mid", "leaves late", "ends", "errors", "resets", "leaves pause", "leaves drained"]
Told = Literal["given", "absent", "zero", "twice"]
ENDS: Final[tuple[End, ...]] = get_args(End)
TOLD: Final[tuple[Told, ...]] = get_args(Told)

# Long enough to leave in, and short enough that the house waits for it itself.
WAIT_A_WHILE: Final = "retry-after: 5\r\n"
INPUT_NANO, OUTPUT_NANO = 1_000, 10_000  # for a token, by the price of the tests
WORDS: Final = ("One", " two", " three")
FIRST: Final = {
    "prompt_tokens": 1_000,
    "completion_tokens": 1_000,
    "total_tokens": 2_000,
}  # of two reports, the one before


class Billable(NamedTuple):
    """One route that costs money: where it is, what is asked of it, how its body is read, and a whole answer of it."""

    path: str
    body: dict[str, Any]
    decode: Callable[[bytes], ModelRequest]
    answer: Callable[[Any], dict[str, Any]]
    text: str  # of the answer, as far as it counts as output


def _chat(usage: Any) -> dict[str, Any]:
    return completion("".join(WORDS), usage=usage)


def _vectors(usage: Any) -> dict[str, Any]:
    return embedded([[0.5, 1.5]], usage=usage)


BILLABLE: Final = {
    "chat.completions": Billable("/chat/completions", asked(), openai_chat_head.decode_head, _chat, "".join(WORDS)),
    "embeddings": Billable(
        "/embeddings", {"model": "m", "input": "Hello"}, openai_embeddings.decode_head, _vectors, ""
    ),
}
STREAMED: Final = ("chat.completions",)  # embeddings have no stream: nobody's API has one


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    environ = {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "2", "POSTHOUSE_ROUTING_COOLDOWN": "0"}
    with Upstream() as upstream:
        drained = provider(upstream.base_url, '"d"', 'on_disconnect = "drain"', name="drained")
        # Each pause needs a deployment of its own: one that asked for a pause is left alone until it is over.
        models = ["m", *(_model("leaves pause", told, stream=stream) for told in TOLD for stream in (True, False))]
        config = provider(upstream.base_url, ", ".join(f'"{model}"' for model in models)) + drained
        config += PRICE + PRICE.replace('"m"', '"d"')
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
        name: count_request(billable.decode(json.dumps(billable.body).encode()), vocabulary)
        for name, billable in BILLABLE.items()
    }


def test_every_route_that_costs_money_is_in_the_matrix(here: Place) -> None:
    assert set(BILLABLE) == set(OPERATIONS)
    billable = set()
    with here.house.wire() as wire:
        for path in here.house.house.door.paths():
            answer = wire.ask(path, {}, ADMIN_KEY)
            if answer.status == 400 and answer.error["param"] == "model":
                billable.add(path)
    paths = {one.path for one in BILLABLE.values()}
    assert billable == paths | {f"/v1{path}" for path in paths}


# --- whole answers ---------------------------------------------------------------------------------------------------
@pytest.mark.req("CHAT-E2E-009")
@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("route", BILLABLE)
def test_whole_answer_is_billed_by_the_rule(
    here: Place, prompt_tokens: dict[str, int], route: str, end: End, told: Told
) -> None:
    billable = BILLABLE[route]
    gate = here.upstream.gate()
    model = _model(end, told, stream=False)
    here.upstream.scripts["*"] = _whole_script(_whole_body(billable, told), end, gate)
    before = here.house.last_id()
    with here.house.wire() as wire:
        wire.send(request(f"/v1{billable.path}", {**billable.body, "model": model}, ADMIN_KEY))
        if end == "leaves pause":
            _leave_in_a_pause(here, wire, (f"main/{model}", route))
        elif end.startswith("leaves"):
            _leave(here, wire, gate)
        else:
            status = wire.response().status
            assert status == (200 if end == "ends" else 502)
    stored = here.house.only_since(before)
    if end == "ends":
        _check(stored, _told_or_counted(told, prompt_tokens[route], here, billable.text), "complete")
    elif end == "leaves pause":
        _check_released(stored, "client")
    elif end.startswith("leaves"):
        # Nothing of the answer was delivered, but the provider has read the prompt.
        _check(stored, Expected("estimated", prompt_tokens[route], 0), "client")
    else:
        _check_released(stored, "upstream")


def _whole_body(billable: Billable, told: Told) -> bytes:
    reports = {"given": [USAGE], "absent": [], "zero": [ZERO], "twice": [FIRST, USAGE]}[told]
    if billable.path == "/embeddings":
        reports = [{name: report[name] for name in ("prompt_tokens",)} for report in reports]
    members = [f'"usage":{json.dumps(report)}' for report in reports]
    start = json.dumps(billable.answer(None)).removesuffix("}")
    return (", ".join([start, *members]) + "}").encode()


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
@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("route", STREAMED)
def test_stream_is_billed_by_the_rule(
    here: Place, prompt_tokens: dict[str, int], route: str, end: End, told: Told
) -> None:
    billable = BILLABLE[route]
    gate = here.upstream.gate()
    model = _model(end, told, stream=True)
    here.upstream.scripts["*"] = _stream_script(end, told, gate)
    before = here.house.last_id()
    with here.house.wire() as wire:
        wire.send(request(f"/v1{billable.path}", {**billable.body, "model": model, "stream": True}, ADMIN_KEY))
        seen = "" if end in ("leaves early", "leaves pause") else _read_stream(wire, end, told, gate)
        if end == "leaves pause":
            _leave_in_a_pause(here, wire, (f"main/{model}", route))
        elif end == "leaves drained":
            _leave_unseen(here, wire)
            gate.open()
            seen = billable.text  # nobody saw it, but it was made
        elif end.startswith("leaves"):
            _leave(here, wire, gate)
    stored = here.house.only_since(before)
    if end == "leaves pause":
        _check_released(stored, "client")
        return
    if end == "leaves early":
        # Whatever the provider would have said: nothing had come but the request.
        _check(stored, Expected("estimated", prompt_tokens[route], 0), "client")
        return
    ended_by = {"ends": "complete", "errors": "upstream", "resets": "upstream"}.get(end, "client")
    assert seen == ("One" if end in ("leaves mid", "errors", "resets") else billable.text)
    _check(stored, _told_or_counted(told, prompt_tokens[route], here, seen), ended_by)


def _reports(told: Told, *, with_choices: bool) -> list[dict[str, Any]]:
    """Chunks that report usage, on a chunk of content or on one without choices."""
    usages = {"given": [USAGE], "absent": [], "zero": [ZERO], "twice": [FIRST, USAGE]}[told]
    delta = {"content": ""} if with_choices else None
    return [chunk(delta, usage=usage) for usage in usages]


def _stream_script(end: End, told: Told, gate: Gate) -> Script:
    async def script(visit: Visit) -> None:
        if end == "leaves pause":
            await visit.whole(fault("Not so fast."), 429, WAIT_A_WHILE)
            return
        if end == "leaves early":
            await gate.passed(visit)
        await visit.start_stream()
        await visit.event(chunk({"role": "assistant", "content": WORDS[0]}))
        if end in ("leaves mid", "errors", "resets"):
            # Some providers tell their usage as they go.
            for report in _reports(told, with_choices=True):
                await visit.event(report)
            await gate.passed(visit)
            if end == "errors":
                await visit.event(fault("The tank is empty."))
                await visit.end_stream()
            else:
                visit.reset()
            return
        if end == "leaves drained":
            await gate.passed(visit)
        for word in WORDS[1:]:
            await visit.event(chunk({"content": word}))
        await visit.event(chunk({}, "stop"))
        for report in _reports(told, with_choices=False):
            await visit.event(report)
        if end == "leaves late":
            await gate.passed(visit)
        await visit.event("[DONE]")
        await visit.end_stream()

    return script


def _read_stream(wire: Wire, end: End, told: Told, gate: Gate) -> str:
    """Reads as far as the upstream goes before the gate, opens it where the upstream is to go on; the text seen."""
    status, _ = wire.head()
    assert status == 200
    text = ""
    reports = len(_reports(told, with_choices=True))
    expected = len(WORDS) + 1
    if end in ("leaves mid", "errors", "resets"):
        expected = 1 + reports
    elif end == "leaves drained":
        expected = 1
    events = wire.events()
    for event in (next(events) for _ in range(expected)):
        payload = json.loads(event.removeprefix(b"data: "))
        text += payload["choices"][0]["delta"].get("content", "")
    if end in ("errors", "resets"):
        gate.open()
        (last,) = events
        assert json.loads(last.removeprefix(b"data: "))["error"]["message"]
    elif end == "ends":
        assert list(events) == [b"data: [DONE]\n\n"]
    return text


# --- what is expected ------------------------------------------------------------------------------------------------
class Expected(NamedTuple):
    source: str
    input: int
    output: int

    @property
    def cost(self) -> int:
        return self.input * INPUT_NANO + self.output * OUTPUT_NANO


def _told_or_counted(told: Told, prompt: int, here: Place, text: str) -> Expected:
    """The last report, else what was delivered, counted."""
    model_answers_text = bool(here.upstream.visit().json.get("messages"))
    match told:
        case "given" | "twice":
            return Expected("provider", 11, 7 if model_answers_text else 0)
        case "zero":
            return Expected("provider", 0, 0)
        case "absent":
            return Expected("estimated", prompt, Vocabularies().of("m").count(text) if text else 0)


def _model(end: End, told: Told, *, stream: bool) -> str:
    match end:
        case "leaves pause":
            return f"pause-{told}-{stream}"
        case "leaves drained":
            return "d"
        case _:
            return "m"


def _leave_in_a_pause(here: Place, wire: Wire, failing: tuple[str, str]) -> None:
    """The client leaves while the house waits to try again: no provider is at work for it."""
    router = here.house.house.router
    assert router is not None
    eventually(lambda: failing in router.health.report(0.0), "the first attempt has not failed")
    wire.leave()


def _leave_unseen(here: Place, wire: Wire) -> None:
    """The client leaves, and the house knows it; the provider must not."""
    server = here.house.house.server
    assert server is not None
    connections = server.server_state.connections
    before = len(connections)
    wire.leave()
    eventually(lambda: len(connections) < before, "the house has not seen the client leave")


def _leave(here: Place, wire: Wire, gate: Gate) -> None:
    """The client leaves while the upstream waits at the gate: the gateway closes there within a second."""
    assert gate.reached.wait(10)
    left = wire.leave()
    visit = here.upstream.visit()
    assert visit.left.wait(10)
    assert visit.left_at - left < 1.0
    assert len(here.upstream.visits) == 1


def _check(stored: Stored, expected: Expected, ended_by: str) -> None:
    record, hold, entries = stored
    assert (record["ended_by"], record["usage_source"]) == (ended_by, expected.source)
    assert (record["input"], record["output"]) == (expected.input, expected.output)
    assert (record["cost"], record["currency"]) == (expected.cost, "USD")
    assert record["hold_state"] == "settled"
    assert hold is not None
    assert (hold["state"], hold["charged"], hold["currency"]) == ("settled", expected.cost, "USD")
    assert hold["ended_at"] is not None
    legs = [(leg["ledger_account"], leg["amount"], leg["usage_source"]) for leg in entries]
    account = f"account:{record['account_id']}"
    provider = f"provider:{record['provider']}"
    both = [(account, expected.cost, expected.source), (provider, -expected.cost, expected.source)]
    assert legs == (both if expected.cost else [])


def _check_released(stored: Stored, ended_by: str) -> None:
    record, hold, entries = stored
    assert (record["ended_by"], record["usage_source"], record["cost"]) == (ended_by, None, None)
    assert hold is not None
    assert (hold["state"], hold["charged"]) == ("released", 0)
    assert entries == []


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
    _check_released(here.house.only_since(before), "upstream")


def test_a_request_that_is_refused_costs_nothing(here: Place) -> None:
    before = here.house.last_id()
    with here.house.wire() as wire:
        assert wire.ask("/v1/chat/completions", asked("no-such-model"), ADMIN_KEY).status == 404
    stored = here.house.only_since(before)
    assert (stored.record["cost"], stored.hold, stored.entries) == (None, None, [])
    assert stored.record["status"] == 404
