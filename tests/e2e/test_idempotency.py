"""Idempotency-Key through a whole house: what reaches the provider, what is billed, and what comes again."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.answers import (
    USAGE,
    answers,
    asked,
    chunk,
    completion,
    embedded,
    fault,
    held,
    refuses_connections,
    streams,
)
from tests.e2e.form_routes import BOUNDARY, SOUND, File, form
from tests.e2e.house import ADMIN_KEY, PRICE, Place, RunningHouse, place, provider, running
from tests.e2e.test_faces import FACES, body_of
from tests.e2e.upstream import Script, Upstream, Visit
from tests.e2e.wire import Response, eventually, request

CHAT: Final = "/v1/chat/completions"
HEARING: Final = "/v1/audio/transcriptions"
SAID: Final = "idempotency-replayed"
# Route, body, and what the provider says. The faces of texts are below; forms have a test of their own.
OTHERS: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any]]]] = {
    "embeddings": ("/v1/embeddings", {"model": "m", "input": "Hello"}, embedded([[0.5, 0.25]])),
    "completions": ("/v1/completions", {"model": "m", "prompt": ["Hello", "you"]}, completion()),
    "images": (
        "/v1/images/generations",
        {"model": "m", "prompt": "A cat"},
        {"created": 1, "data": [{"b64_json": "QQ=="}]},
    ),
    "speech": ("/v1/audio/speech", {"model": "m", "input": "Hello", "voice": "alloy"}, {"sound": "la"}),
    "moderations": (
        "/v1/moderations",
        {"model": "m", "input": "Hello"},
        {"id": "modr-1", "model": "m", "results": [{"flagged": False, "categories": {}, "category_scores": {}}]},
    ),
    "rerank": (
        "/v1/rerank",
        {"model": "m", "query": "a", "documents": ["a", "b"]},
        {"results": [{"index": 0, "relevance_score": 0.9}]},
    ),
    "named": ("/v1/engines/m/embeddings", {"input": "Hello"}, embedded([[0.5, 0.25]])),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    environ = {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "1", "POSTHOUSE_ROUTING_COOLDOWN": "0"}
    with place(tmp_path_factory.mktemp("house"), environ=environ) as made:
        yield made
        made.house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.scripts = {"*": answers(completion())}


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """An Idempotency-Key that no other test has."""
    return str(request.node.name)


def header(key: str) -> str:
    return f"idempotency-key: {key}\r\n"


def ask(house: RunningHouse, key: str, body: Any = None, path: str = CHAT, by: str = ADMIN_KEY) -> Response:
    with house.wire() as wire:
        return wire.ask(path, asked() if body is None else body, by, extra=header(key))


def streamed(house: RunningHouse, key: str, path: str = CHAT, body: Any = None) -> tuple[dict[str, str], bytes]:
    with house.wire() as wire:
        wire.send(request(path, asked(stream=True) if body is None else body, ADMIN_KEY, extra=header(key)))
        answer = wire.response()
        assert answer.status == 200, answer
        return answer.headers, answer.body


def kept(house: RunningHouse) -> None:
    """Until nothing is being answered or kept."""
    assert house.house.repeats is not None
    eventually(lambda: not house.house.repeats._running, "an answer is still being kept")  # type: ignore[union-attr]


def same(first: Response, again: Response) -> None:
    """The second is the first, and says so."""
    ignored = {SAID, "date", "transfer-encoding", "content-length"}
    assert (first.status, first.body) == (again.status, again.body)
    assert again.headers[SAID] == "true"
    assert SAID not in first.headers
    assert {k: v for k, v in first.headers.items() if k not in ignored} == {
        k: v for k, v in again.headers.items() if k not in ignored
    }


def test_a_repetition_is_the_first_answer_and_is_not_recorded(here: Place, key: str) -> None:
    before = here.house.last_id()
    first, again = ask(here.house, key), ask(here.house, key)
    same(first, again)
    assert first.headers["x-posthouse-cost"] == again.headers["x-posthouse-cost"] == "0.000081"
    assert len(here.upstream.visits) == 1
    stored = here.house.only_since(before)
    assert stored.record["id"] == first.headers["x-request-id"]
    assert [entry["amount"] for entry in stored.entries] == [81_000, -81_000]


@pytest.mark.req("IDEMPOTENCY-001")
@pytest.mark.parametrize("stream", [False, True])
def test_twenty_at_once_reach_the_provider_once_are_billed_once_and_get_the_same_bytes(
    here: Place, key: str, stream: bool
) -> None:
    gate = here.upstream.gate()
    words = held(gate, [chunk({"role": "assistant", "content": "Hel"})], chunk({"content": "lo"}, "stop"), "[DONE]")

    async def whole(visit: Visit) -> None:
        await gate.passed(visit)
        await visit.whole(completion())

    here.upstream.scripts["m"] = words if stream else whole
    before = here.house.last_id()
    wires = [here.house.wire() for _ in range(20)]
    for wire in wires:
        wire.send(request(CHAT, asked(stream=stream), ADMIN_KEY, extra=header(key)))
    assert gate.reached.wait(20)
    other = ask(here.house, key, asked(temperature=1))
    assert (other.status, other.error["code"]) == (409, "idempotency_key_reused")
    gate.open()
    found = [wire.response() for wire in wires]
    for wire in wires:
        wire.socket.close()
    assert {(answer.status, answer.headers["content-type"], answer.body) for answer in found} == {
        (200, found[0].headers["content-type"], found[0].body)
    }
    assert len({answer.headers["x-request-id"] for answer in found}) == 1
    assert sum(SAID in answer.headers for answer in found) == 19
    assert len(here.upstream.visits) == 1
    here.house.only_since(before)


@pytest.mark.parametrize("name", FACES)
@pytest.mark.parametrize("stream", [False, True])
def test_every_face_answers_again(here: Place, key: str, name: str, stream: bool) -> None:
    if stream:
        here.upstream.scripts["m"] = streams(["Hel", "lo ", "there"])
    body = body_of(name)
    if stream and name != "generate_content":
        body["stream"] = True
    path = FACES[name].path("m", stream)
    first, again = ask(here.house, key, body, path), ask(here.house, key, body, path)
    assert first.status == 200, first
    same(first, again)
    assert len(here.upstream.visits) == 1


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_route_answers_again(here: Place, key: str, name: str) -> None:
    path, body, says = OTHERS[name]
    here.upstream.scripts["*"] = answers(says, extra="content-type: audio/mpeg\r\n" if name == "speech" else "")
    first = ask(here.house, key, body, path)
    assert first.status == 200, first
    visits = len(here.upstream.visits)
    same(first, ask(here.house, key, body, path))
    assert len(here.upstream.visits) == visits


@pytest.mark.req("IDEMPOTENCY-002")
@pytest.mark.parametrize("name", FACES)
def test_another_body_is_refused_in_the_words_of_the_client(here: Place, key: str, name: str) -> None:
    path = FACES[name].path("m", False)
    assert ask(here.house, key, body_of(name), path).status == 200
    before = here.house.last_id()
    refused = ask(here.house, key, {**body_of(name), "user": "other"}, path)
    kind, message = FACES[name].error(refused.json)
    assert refused.status == 409
    assert kind in ("invalid_request_error", "conflict_error", "ABORTED")
    assert "Idempotency-Key" in message
    assert b"idempotency_key_reused" in refused.body.lower()
    assert refused.headers["x-should-retry"] == "false"
    assert len(here.upstream.visits) == 1
    assert here.house.stored_since(before) == []


@pytest.mark.req("IDEMPOTENCY-003")
def test_a_form_with_a_file_answers_again_under_another_boundary_and_not_for_another_file(
    here: Place, key: str
) -> None:
    here.upstream.scripts["*"] = answers({"text": "One two three"})

    def hear(sound: bytes, boundary: str) -> Response:
        body = form([("model", "m")], [File("file", "a.ogg", sound)]).replace(BOUNDARY.encode(), boundary.encode())
        kind = f"content-type: multipart/form-data; boundary={boundary}\r\ncontent-length: {len(body)}\r\n"
        head = f"POST {HEARING} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {ADMIN_KEY}\r\n{header(key)}{kind}\r\n"
        with here.house.wire() as wire:
            wire.send(head.encode() + body)
            return wire.response()

    sound = SOUND * (1 + (3 << 20) // len(SOUND))
    first, again = hear(sound, "first-boundary"), hear(sound, "another-and-longer-boundary")
    assert first.status == 200, first
    same(first, again)
    assert len(here.upstream.visits) == 1
    assert sound in here.upstream.visit().body
    assert hear(sound + b".", "third").error["code"] == "idempotency_key_reused"


FAILURES: Final[Sequence[tuple[str, Script, int]]] = [
    ("rate", answers(fault("Slow down."), 429), 429),
    ("server", answers(fault("Broken."), 500), 502),
    ("credential", answers(fault("Who?"), 401), 502),
    ("connection", refuses_connections, 502),
]


@pytest.mark.parametrize(("script", "status"), [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES])
def test_what_may_come_out_otherwise_is_not_kept(here: Place, key: str, script: Script, status: int) -> None:
    here.upstream.scripts["m"] = script
    assert ask(here.house, key).status == status
    here.upstream.scripts["m"] = answers(completion())
    answer = eventually(lambda: (got := ask(here.house, key)).status == 200 and got, "it has not cooled")
    assert SAID not in answer.headers
    same(answer, ask(here.house, key))


def test_what_the_provider_refuses_for_good_is_kept_and_what_we_refuse_is_not(here: Place, key: str) -> None:
    here.upstream.scripts["m"] = answers(fault("No such tool.", type="invalid_request_error"), 400)
    first = ask(here.house, key)
    assert first.status == 400
    same(first, ask(here.house, key))
    assert len(here.upstream.visits) == 1
    for _ in range(2):
        wrong = ask(here.house, key + "2", {"model": "m"})
        assert (wrong.status, SAID in wrong.headers) == (400, False)
    assert ask(here.house, key + "2", asked("nobody")).status == 404


def test_a_client_that_leaves_is_billed_and_frees_its_key(here: Place, key: str) -> None:
    gate = here.upstream.gate()
    here.upstream.scripts["m"] = held(gate, [chunk({"role": "assistant", "content": "Hello"})])
    before = here.house.last_id()
    with here.house.wire() as wire:
        wire.send(request(CHAT, asked(stream=True), ADMIN_KEY, extra=header(key)))
        wire.until(b"Hello")
    assert here.house.only_since(before).record["status"] == 499
    kept(here.house)
    here.upstream.scripts["m"] = streams(["Hello"])
    headers, first = streamed(here.house, key)
    assert SAID not in headers
    headers, again = streamed(here.house, key)
    assert (headers[SAID], again) == ("true", first)


def test_keys_hold_for_one_account_and_one_route(here: Place, key: str) -> None:
    account = here.house.admin("POST", "/accounts", {"name": key[:40]})["id"]
    mine, theirs = here.house.new_key(), here.house.new_key(account=account)
    ask(here.house, key, by=mine)
    assert SAID not in ask(here.house, key, by=theirs).headers
    assert ask(here.house, key, by=theirs).headers[SAID] == "true"
    here.upstream.scripts["*"] = answers(embedded([[0.5]]))
    path, body, _ = OTHERS["embeddings"]
    assert SAID not in ask(here.house, key, body, path, mine).headers


def test_a_repetition_counts_against_requests_per_minute(here: Place, key: str) -> None:
    limited = here.house.new_key(limits={"rpm": 2})
    assert [ask(here.house, key, by=limited).status for _ in range(3)] == [200, 200, 429]
    assert ask(here.house, key).status == 200  # the account's other keys
    assert len(here.upstream.visits) == 1


@pytest.mark.parametrize("wrong", ["", "k" * 256, "\xe9"])
def test_a_key_that_is_none_is_a_400_that_names_the_header(here: Place, wrong: str) -> None:
    answer = ask(here.house, wrong)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, "Idempotency-Key", "invalid_value")
    assert here.upstream.visits == []


def test_openais_client_gets_its_answer_again(here: Place, key: str) -> None:
    with here.house.openai() as client:
        found = [
            client.chat.completions.with_raw_response.create(
                model="m", messages=[{"role": "user", "content": "Hello"}], extra_headers={"Idempotency-Key": key}
            )
            for _ in range(2)
        ]
    assert found[0].parse() == found[1].parse()
    assert found[1].headers[SAID] == "true"
    assert len(here.upstream.visits) == 1


@pytest.mark.req("IDEMPOTENCY-004")
def test_an_answer_outlives_a_restart_and_is_gone_in_the_end(tmp_path: Path, database_url: str) -> None:
    environ = {"POSTHOUSE_DATABASE_URL": database_url}
    with Upstream() as upstream:
        upstream.scripts = {"*": answers(completion())}
        config = provider(upstream.base_url) + PRICE
        with running(tmp_path, config, environ) as house:
            first = ask(house, "k")
        with running(tmp_path, config, environ) as house:
            same(first, ask(house, "k"))
            repeats = house.house.repeats
            assert repeats is not None
            now = repeats._clock()
            repeats._clock = lambda: now + 86_401.0
            assert SAID not in ask(house, "k").headers
        assert len(upstream.visits) == 2


def test_keys_are_not_heeded_where_nothing_is_kept(tmp_path: Path) -> None:
    with place(tmp_path, environ={"POSTHOUSE_IDEMPOTENCY_KEEP": "0"}) as made:
        made.upstream.scripts = {"*": answers(completion())}
        for _ in range(2):
            assert SAID not in ask(made.house, "k").headers
        assert len(made.upstream.visits) == 2


def test_an_answer_beyond_the_bound_says_that_it_is_not_kept(tmp_path: Path) -> None:
    with place(tmp_path, environ={"POSTHOUSE_IDEMPOTENCY_MAX_ANSWER": "1024"}) as made:
        made.upstream.scripts = {"*": answers(completion("x" * 2_000))}
        for _ in range(2):
            answer = ask(made.house, "k")
            assert answer.headers["idempotency-kept"] == "false"
            kept(made.house)
        assert len(made.upstream.visits) == 2


def test_a_stream_that_is_drained_for_a_client_that_left_is_billed_whole_and_not_kept(tmp_path: Path) -> None:
    with place(tmp_path, more='on_disconnect = "drain"') as made:
        gate = made.upstream.gate()
        last: list[dict[str, Any] | str] = [chunk({}, "stop"), chunk(None, usage=USAGE), "[DONE]"]
        made.upstream.scripts["m"] = held(gate, [chunk({"role": "assistant", "content": "Hello"})], *last)
        with made.house.wire() as wire:
            wire.send(request(CHAT, asked(stream=True), ADMIN_KEY, extra=header("k")))
            wire.until(b"Hello")
        kept(made.house)
        gate.open()
        assert made.house.only_since("").record["cost"] == 81_000
        made.upstream.scripts["m"] = streams(["Hello"])
        headers, _ = streamed(made.house, "k")
        assert SAID not in headers
        assert len(made.upstream.visits) == 2
