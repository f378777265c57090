"""The rules of billing over real sockets: whoever ends a call, whatever the provider says of its usage, and by whatever
it is sold.

The matrix: {the client leaves early, mid, late, in a pause between attempts, from a deployment that is drained; the
upstream ends, errors, resets} x usage {given, absent, zero, twice, absurd} x every route that costs money x {stream,
not}; where an answer ends well, with every way to be absurd. The routes register themselves (`billable.Billable`); a
case is left out only where a route says why it cannot have it. After each call its hold has ended exactly once, at the
cost that docs/billing.md gives, the entries carry it, and a client that leaves takes the upstream's connection with it
within a second.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final, get_args

import pytest

from posthouse.api.joining import ACCEPT
from posthouse.core.requests import TEXTS, Operation
from posthouse.core.usage import NO_USAGE, Usage
from tests.e2e import form_routes, media_routes, passing_routes, text_routes
from tests.e2e.billable import PRICES, SOLD, Billable, Case, Streamed, Whole, cases_of, cost, script
from tests.e2e.ends import ENDS, ODD, TOLD, Told, check_released, check_settled, leave, leave_in_a_pause, leave_unseen
from tests.e2e.house import ADMIN_KEY, Place, Stored, provider, running
from tests.e2e.upstream import Gate, Upstream
from tests.e2e.wire import Wire

ROUTES: Final[Sequence[Billable]] = (
    *text_routes.ROUTES,
    *media_routes.ROUTES,
    *form_routes.ROUTES,
    *passing_routes.ROUTES,
)
CASES: Final = [case for route in ROUTES for case in cases_of(route)]
# Where the routes are, and what else takes a POST there: what costs nothing, and what leads to the same routes.
BASES: Final = ("/v1", "", "/openai/v1", "/openai", "/anthropic/v1")
FREE: Final = ("/input_tokens", "/count_tokens")
NAMING: Final = {"/openai/deployments/*", "/v1/engines/*", "/engines/*", "/v1/models/*"}
COUNTS: Final = [name for name in Usage.__struct_fields__ if isinstance(getattr(NO_USAGE, name), int)]


def _cases(*, streamed: bool) -> pytest.MarkDecorator:
    found = [case for case in CASES if case.route.streamed == streamed]
    return pytest.mark.parametrize("case", found, ids=[case.id for case in found])


def _config(base_url: str) -> str:
    """Each account, and one whose streams are read on when the client has left; with each a model for each measure, and
    one for each pause."""
    config = ""
    for name, more in {route.account[0]: route.account[1] for route in ROUTES}.items():
        own = [case for case in CASES if case.route.account[0] == name]
        for account, further in ((name, more), (f"drained-{name}", f'on_disconnect = "drain"\n{more}')):
            models = sorted({case.model for case in own if case.account == account})
            config += provider(base_url, ", ".join(f'"{model}"' for model in models), further, name=account)
            for sold in SOLD:
                config += f'[[prices]]\nmodel = "m-{account}-{sold}"\ncurrency = "USD"\n{PRICES[sold]}\n'
    return config


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    environ = {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "2", "POSTHOUSE_ROUTING_COOLDOWN": "0"}
    with Upstream() as upstream:
        with running(tmp_path_factory.mktemp("house"), _config(upstream.base_url), environ) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {}


# --- what is registered -----------------------------------------------------------------------------------------------
def test_every_operation_is_in_the_matrix_with_all_that_may_be_told_of_it() -> None:
    registered: dict[Operation, set[str]] = {}
    for case in CASES:
        registered.setdefault(case.route.operation, set()).update((case.told, case.end))
    assert registered.keys() == set(get_args(Operation))
    # What passes is tried once: it has no pause.
    lacking = {operation: {*TOLD, *ENDS} - had for operation, had in registered.items()}
    assert {operation: lack for operation, lack in lacking.items() if lack} == {"passthrough": {"leaves pause"}}


def test_every_operation_is_in_the_matrix_with_every_way_to_be_absurd() -> None:
    registered: dict[Operation, set[Told]] = {}
    for case in CASES:
        registered.setdefault(case.route.operation, set()).add(case.told)
    # What only hears, draws, speaks or judges has no details, and what it makes is a matter of its own.
    beside: set[Told] = {"output", "cached", "reasoning"}
    lacking = {operation: {*ODD} - had - beside for operation, had in registered.items()}
    assert {operation: lack for operation, lack in lacking.items() if lack} == {"messages": {"total"}}
    for operation in TEXTS:
        assert "output" in registered[operation]
    assert [one for one in TEXTS if "cached" not in registered[one]] == ["messages"]
    assert [one for one in TEXTS if "reasoning" not in registered[one]] == ["generate_content"]


def test_every_text_is_in_the_matrix_whole_and_streamed() -> None:
    found = {(route.operation, route.streamed) for route in ROUTES}
    assert {(operation, streamed) for operation in TEXTS for streamed in (True, False)} <= found


def test_no_two_routes_have_one_name() -> None:
    names = [route.name for route in ROUTES]
    assert len(names) == len(set(names))


def test_every_path_that_costs_money_is_in_the_matrix(here: Place) -> None:
    known = here.house.house.door.paths()
    with here.house.wire() as wire:
        posted = {path for path in known if wire.ask(path, {}, ADMIN_KEY).status != 405} - {"/admin/*", ACCEPT}
    exact = {path for path in posted if not path.endswith("*")}
    registered = {route.path for route in ROUTES}
    under = {path for path in posted - exact if any(one.startswith(path[:-1]) for one in registered)}
    assert under == {"/v1beta/models/*", "/providers/*"}
    assert posted - exact - under == NAMING
    expected = {base + path.removeprefix("/v1") for path in registered for base in BASES}
    assert {path for path in exact - expected if not path.endswith(FREE)} == set()
    paths = {path for path in registered if path.startswith("/v1/")}
    assert paths | {path.removeprefix("/v1") for path in paths} <= exact


# --- whole answers ----------------------------------------------------------------------------------------------------
@pytest.mark.req("CHAT-E2E-009", "MEDIA-011", "MEDIA-012", "MEDIA-013", "UPFORM-006", "PASS-012")
@_cases(streamed=False)
def test_whole_answer_is_billed_by_the_rule(here: Place, case: Case) -> None:
    answer = case.route.answer(case.told)
    assert isinstance(answer, Whole)
    gate = here.upstream.gate()
    here.upstream.scripts["*"] = script(answer, case.end, gate)
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(case.route.ask(case.account, case.model))
        if case.end == "leaves pause":
            leave_in_a_pause(here, client, (f"{case.account}/{case.model}", case.route.operation))
        elif case.end.startswith("leaves"):
            if case.route.passes and case.end != "leaves early":
                _read(client, case)
            leave(here, client, gate)
        else:
            _hear(client, case, answer, gate)
    if case.route.as_is:
        _check_sent(here.upstream.visit().body, case)
    _check(here.house.only_since(before), case)


def _check_sent(body: bytes, case: Case) -> None:
    sent = case.route.ask(case.account, case.model).partition(b"\r\n\r\n")[2]
    if sent.startswith(b"{") and not case.route.passes:
        assert json.loads(body) == json.loads(sent)
    else:
        assert body == sent


def _hear(client: Wire, case: Case, answer: Whole, gate: Gate) -> None:
    """The client stays: the upstream goes on to the end that it has."""
    if case.end == "resets":
        if case.route.passes:
            assert _read(client, case)[0] == answer.until("resets")
        assert gate.reached.wait(10)
        gate.open()
        if case.route.passes:
            assert client.rest() == b""
            return
    response = client.response()
    assert response.status == (200 if case.end == "ends" else 500 if case.route.passes else 502)
    if case.end == "ends" and case.route.as_is:
        assert (response.body, response.headers["content-type"]) == (answer.body, answer.content_type)


# --- streams ----------------------------------------------------------------------------------------------------------
@pytest.mark.req("CHAT-E2E-009", "CHAT-E2E-014", "MEDIA-011", "MEDIA-013", "MEDIA-014", "MEDIA-015")
@pytest.mark.req("UPFORM-006", "PASS-012")
@_cases(streamed=True)
def test_stream_is_billed_by_the_rule(here: Place, case: Case) -> None:
    answer = case.route.answer(case.told)
    assert isinstance(answer, Streamed)
    gate = here.upstream.gate()
    here.upstream.scripts["*"] = script(answer, case.end, gate)
    before = here.house.last_id()
    with here.house.wire() as client:
        client.send(case.route.ask(case.account, case.model))
        if case.end == "leaves pause":
            leave_in_a_pause(here, client, (f"{case.account}/{case.model}", case.route.operation))
        elif case.end == "leaves early":
            leave(here, client, gate)
        else:
            _follow(here, client, case, gate)
    stored = here.house.only_since(before)
    # What passes is known to be a stream when it begins.
    assert stored.record["stream"] or (case.route.passes and case.end == "leaves early")
    _check(stored, case)


def _read(client: Wire, case: Case) -> tuple[bytes, Iterator[bytes]]:
    """What comes before the gate, and what is left."""
    answer, reading = case.route.answer(case.told), case.route.reading
    status, headers = client.head()
    assert status == 200
    if case.route.as_is:
        assert headers["content-type"].partition(";")[0] == answer.content_type
    wanted = reading.wanted(answer, case.end)
    pieces = client.pieces()
    came = b""
    while len(content := reading.content(came)) < len(wanted):
        assert wanted.startswith(content)
        came += next(pieces)
    assert content.startswith(wanted)
    return came, pieces


def _follow(here: Place, client: Wire, case: Case, gate: Gate) -> None:
    """What the client sees, up to where it leaves; then it leaves, or the upstream goes on."""
    came, pieces = _read(client, case)
    match case.end:
        case "leaves drained" if not case.route.passes:
            leave_unseen(here, client)
            gate.open()
        case "leaves mid" | "leaves late" | "leaves drained":
            leave(here, client, gate)
        case "errors" | "resets":
            # What was told on the way has come before what breaks it.
            assert gate.reached.wait(10)
            gate.open()
            _breaks(client, case, came, pieces)
        case _:
            came += b"".join(pieces)
            answer, reading = case.route.answer(case.told), case.route.reading
            assert reading.content(came).startswith(reading.wanted(answer, "ends"))
            assert reading.ending(came) == "finished"
            assert not case.route.as_is or came == answer.until("ends")


def _breaks(client: Wire, case: Case, came: bytes, pieces: Iterator[bytes]) -> None:
    """A stream of events ends with one that says what is wrong; what has no other way breaks off, so that nobody takes
    it for whole."""
    answer = case.route.answer(case.told)
    assert isinstance(answer, Streamed)
    if answer.fault is None or (case.route.passes and case.end == "resets"):
        rest = client.rest()
        assert not rest.endswith(b"0\r\n\r\n")
        assert answer.until("ends" if answer.fault is None else "resets").startswith(came)
        return
    whole = came + b"".join(pieces)
    if case.route.passes:
        assert whole == answer.until("errors") + answer.fault
    else:
        assert case.route.reading.ending(whole) == "failed"


# --- what is expected -------------------------------------------------------------------------------------------------
def _check(stored: Stored, case: Case) -> None:
    assert stored.record["operation"] == case.route.operation
    charge = case.charge()
    if charge is None:
        check_released(stored, case.ended_by)
        return
    usage, source = charge
    assert [stored.record[name] for name in COUNTS] == [getattr(usage, name) for name in COUNTS]
    assert (stored.record["image_kind"] or "") == usage.image_kind
    check_settled(stored, cost(usage, case.sold), source, case.ended_by)
    assert stored.hold is not None
    if case.route.held is not None:
        assert stored.hold["amount"] == cost(case.route.held, case.sold)
