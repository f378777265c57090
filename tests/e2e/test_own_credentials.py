"""Callers that bring a credential of their own: where it is said, to whom it goes, and what it is to nobody else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.e2e.answers import answers, asked, chunk, fault, frames, held, refuses_connections, streams
from tests.e2e.house import ADMIN_KEY
from tests.e2e.own import COST, OPERATORS, OWN, USAGE, WHOLE, Place, lending
from tests.e2e.wire import refused, request

MESSAGES: Final = {"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}]}
CONTENTS: Final = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with lending(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.forget()
    for upstream in (here.upstream, here.elsewhere):
        upstream.scripts = {"*": answers(WHOLE)}


def explained(place: Place, request_id: str) -> dict[str, Any]:
    place.house.stored(request_id)
    return place.house.admin("GET", f"/requests/{request_id}/explain")


# --- where it is said ------------------------------------------------------------------------------------------------
@pytest.mark.req("OWNC-001")
def test_an_unchanged_client_brings_it_whole_and_streamed(here: Place) -> None:
    key = here.key("main")
    with here.house.openai(key) as client:
        messages: Any = [{"role": "user", "content": "Hello"}]
        whole = client.chat.completions.create(model="m", messages=messages)
        assert whole.choices[0].message.content == "Hello there"
        here.upstream.scripts = {"*": streams(["Hello", " you"])}
        stream = client.chat.completions.create(model="m", messages=messages, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "Hello you"
        assert "m" in [model.id for model in client.models.list()]
    assert here.said() == [OWN, OWN]


@pytest.mark.req("OWNC-001")
@pytest.mark.parametrize(
    ("path", "body", "line"),
    [
        ("/v1/chat/completions", asked(), "authorization: Bearer {}"),
        ("/v1/chat/completions", asked(), "Authorization: bearer {}"),
        ("/v1/responses", {"model": "m", "input": "Hi"}, "authorization: Bearer {}"),
        ("/v1/messages", MESSAGES, "x-api-key: {}"),
        ("/openai/v1/chat/completions", asked(), "api-key: {}"),
        ("/v1beta/models/m:generateContent", CONTENTS, "x-goog-api-key: {}"),
        ("/v1beta/models/m:generateContent?key={}", CONTENTS, ""),
    ],
)
def test_it_stands_before_the_key_wherever_that_is_said(
    here: Place, path: str, body: dict[str, Any], line: str
) -> None:
    key = here.key("main")
    answer = here.send(path.format(key), body, f"{line.format(key)}\r\n" if line else "")
    assert answer.status == 200, answer.body
    assert here.said() == [OWN]


@pytest.mark.req("OWNC-001")
@pytest.mark.parametrize("encoded", [False, True])
def test_a_websocket_takes_it_in_its_header_or_percent_encoded_in_its_subprotocol(here: Place, encoded: bool) -> None:
    here.upstream.scripts = {"*": streams(["Hello", " you"])}
    key = here.key("main")
    url = f"ws://127.0.0.1:{here.house.port}/v1/chat/completions"
    said = key.replace(":", "%3A").replace("/", "%2F")
    offered = [Subprotocol(f"posthouse.key.{said}"), Subprotocol("posthouse")] if encoded else None
    headers = {} if encoded else {"authorization": f"Bearer {key}"}
    with connect(url, additional_headers=headers, subprotocols=offered, proxy=None) as client:
        assert client.subprotocol == ("posthouse" if encoded else None)
        for _ in range(2):
            client.send(json.dumps(asked()))
            while client.recv(20) != "[DONE]":
                pass
    assert here.said() == [OWN, OWN]


@pytest.mark.req("OWNC-002")
def test_a_websocket_that_cannot_be_opened_repeats_nothing(here: Place) -> None:
    key = here.key("main")
    lines = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    lines += f"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: posthouse.key.{key}\r\n"
    with here.house.wire() as wire:
        wire.send(request("/v1/chat/completions", method="GET", extra=lines))
        answer = wire.response()
    assert (answer.status, answer.error["code"]) == (400, "invalid_handshake")
    assert "percent-encode" in answer.error["message"]
    assert b"caller" not in answer.body


# --- who may, and what is told ---------------------------------------------------------------------------------------
@pytest.mark.req("OWNC-002")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/providers/main/files"])
def test_a_key_that_may_bring_none_is_told_so(here: Place, path: str) -> None:
    for key in (here.house.new_key(), ADMIN_KEY):
        answer = here.send(path, MESSAGES, f"authorization: Bearer {OWN}:{key}\r\n")
        assert answer.status == 403
        assert b"caller" not in answer.body
        assert key.encode() not in answer.body
    answer = here.ask(f"{OWN}:{here.house.new_key()}")
    assert refused(answer).error["code"] == "own_credential_not_allowed"
    assert here.said() == []


@pytest.mark.req("OWNC-002")
@pytest.mark.parametrize(
    "said",
    [f"{OWN}:sk-ph-nobody-has-this-key", f"{OWN}:", f"{OWN}:sk-other", ":", ":sk-ph-", f"sk-ph-x:{OWN}", OWN],
)
def test_without_a_known_key_behind_it_nobody_comes_in(here: Place, said: str) -> None:
    answer = here.ask(said)
    assert refused(answer).status == 401
    assert answer.error["code"] == "invalid_api_key"
    assert b"caller" not in answer.body
    assert here.said() == []


@pytest.mark.req("OWNC-002")
@pytest.mark.parametrize("wrong", ["", "short", "with a space in it", 'quoted"credential', "back\\slashed", "x" * 4097])
def test_what_is_no_credential_is_refused_and_not_repeated(here: Place, wrong: str) -> None:
    key = here.key("main").rpartition(":")[2]
    answer = here.ask(f"{wrong}:{key}")
    assert refused(answer).status == 400
    assert answer.error["code"] == "invalid_own_credential"
    assert wrong not in answer.error["message"] or not wrong
    assert here.said() == []


@pytest.mark.req("OWNC-002")
def test_a_key_that_holds_colons_itself_is_not_cut(tmp_path: Path) -> None:
    odd = "admin:key:of:the:tests:sk-ph-0123456789"
    with lending(tmp_path, {"POSTHOUSE_ADMIN_KEY": odd}) as place:
        place.upstream.scripts = {"*": answers(WHOLE)}
        assert place.ask(odd).status == 200
        assert place.ask(odd[1:]).status == 401
        assert place.said() == [OPERATORS]


# --- to whom it goes -------------------------------------------------------------------------------------------------
@pytest.mark.req("OWNC-003")
def test_only_accounts_that_the_key_names_are_asked_and_explain_says_why(here: Place) -> None:
    answer = here.ask(here.key("twin", "other"))
    assert (answer.status, answer.headers["x-posthouse-deployment"]) == (200, "other/m")  # by rank, and not `main`
    assert [len(here.upstream.visits), len(here.elsewhere.visits)] == [0, 1]
    told = explained(here, answer.headers["x-request-id"])
    assert told["own_credential"] is True
    reasons = {one["deployment"]: (one["outcome"], one["why"]) for one in told["candidates"]}
    assert reasons["other/m"][0] == "answered"
    assert reasons["main/m"] == (
        "passed_over",
        "passed over: the caller brought a credential, which may not stand for its account's",
    )
    assert reasons["twin/m"] == (
        "passed_over",
        "passed over: the caller brought a credential, which was meant for the provider of another deployment",
    )


@pytest.mark.req("OWNC-003")
@pytest.mark.parametrize("how", ["error", "reset", "auth"])
@pytest.mark.parametrize("model", ["m", "any"])
def test_it_never_goes_on_to_another_provider_nor_is_the_operators_used(here: Place, how: str, model: str) -> None:
    scripts = {
        "error": answers(fault("broken"), 500),
        "reset": refuses_connections,
        "auth": answers(fault("no"), 401),
    }
    here.upstream.scripts = {"*": scripts[how]}
    answer = here.ask(here.key("main", "twin", "other"), model)
    assert answer.status == (401 if how == "auth" else 502)
    assert here.elsewhere.visits == []
    # Both accounts are at one address: whoever stays there is tried again, but for a verdict on the credential.
    assert set(here.said()) == {OWN}
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert record["attempts"] == (1 if how == "auth" else 4)
    if how == "error":
        names = {one["deployment"].partition("/")[0] for one in json.loads(record["attempts_detail"])}
        assert names == {"main", "twin"}
    assert here.house.troubled() == set()


@pytest.mark.req("OWNC-003")
def test_a_second_deployment_at_the_same_provider_may_serve(here: Place) -> None:
    tries = iter([answers(fault("broken"), 500), answers(WHOLE)])

    async def script(visit: Any) -> None:
        await next(tries)(visit)

    here.upstream.scripts = {"*": script}
    answer = here.ask(here.key("main", "twin", "other"))
    assert (answer.status, answer.headers["x-posthouse-deployment"]) == (200, "twin/m")
    assert here.said() == [OWN, OWN]
    assert here.house.troubled() == set()


@pytest.mark.req("OWNC-003")
@pytest.mark.parametrize(
    ("accounts", "model", "status", "code"),
    [
        (("other",), "n", 403, "own_credential_no_account"),
        (("nobody",), "m", 403, "own_credential_no_account"),
        (("headed",), "h", 403, "own_credential_unsupported"),
        (("main",), "unheard-of", 404, "model_not_found"),
        (("messages",), "a", 404, "model_not_found"),
    ],
)
def test_where_nobody_may_have_it_that_is_told_and_nobody_is_asked(
    here: Place, accounts: tuple[str, ...], model: str, status: int, code: str
) -> None:
    path = "/v1/embeddings" if model == "a" else "/v1/chat/completions"
    answer = here.ask(here.key(*accounts), model, path, input="Hi")
    assert (refused(answer).status, answer.error["code"]) == (status, code)
    assert here.said() == []


@pytest.mark.req("OWNC-003")
@pytest.mark.parametrize(("model", "header"), [("a", "x-api-key"), ("g", "x-goog-api-key"), ("s", "authorization")])
def test_it_goes_into_the_header_of_the_accounts_row(here: Place, model: str, header: str) -> None:
    here.upstream.scripts = {"*": answers(fault("no such thing"), 400)}
    assert here.ask(here.key(), model).status == 400
    (visit,) = here.upstream.visits
    assert visit.headers[header].removeprefix("Bearer ") == OWN
    carried = [name for name in ("authorization", "x-api-key", "x-goog-api-key", "api-key") if name in visit.headers]
    assert carried == [header]


@pytest.mark.req("OWNC-003")
def test_a_form_is_sent_with_it(here: Place) -> None:
    here.upstream.scripts = {"*": answers({"text": "Hello"})}
    form = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nn\r\n'
    form += b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--x--\r\n'
    key = here.key("main")
    with here.house.client(key) as client:
        kind = {"content-type": "multipart/form-data; boundary=x"}
        assert client.post("/v1/audio/transcriptions", content=form, headers=kind).status_code == 200
    assert here.said() == [OWN]


@pytest.mark.req("OWNC-003")
def test_a_kept_answer_is_of_the_key_that_brought_it(here: Place) -> None:
    key, ordinary = here.key("main"), here.house.new_key()
    line = "idempotency-key: one\r\n"
    with here.house.wire() as wire:
        for one in (key, key, here.key("main"), ordinary, ordinary):
            assert wire.ask("/v1/chat/completions", asked(), one, extra=line).status == 200
    assert here.said() == [OWN, OWN, OPERATORS]


# --- what the provider says of it ------------------------------------------------------------------------------------
@pytest.mark.req("OWNC-004")
@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            (401, fault(f"Incorrect API key provided: {OWN}")),
            (401, "provider_credential_refused", "AuthenticationError"),
        ),
        ((403, fault(f"{OWN} may not")), (403, "provider_credential_refused", "PermissionDeniedError")),
        ((429, fault(f"slow down, {OWN}")), (429, "rate_limit_exceeded", "RateLimitError")),
        ((429, fault("none left", code="insufficient_quota")), (429, "provider_quota_exhausted", "RateLimitError")),
        ((402, fault("pay first")), (429, "provider_quota_exhausted", "RateLimitError")),
        ((404, fault("not yours", code="model_not_found")), (404, "model_not_found", "NotFoundError")),
    ],
)
def test_a_verdict_on_it_is_the_callers_and_changes_nothing_for_others(
    here: Place, said: tuple[int, dict[str, Any]], told: tuple[int, str, str]
) -> None:
    (status, body), (ours, code, error) = said, told
    here.upstream.scripts = {"*": answers(body, status)}
    key = here.key("main")
    answer = here.ask(key)
    assert (answer.status, answer.error["code"]) == (ours, code)
    assert OWN not in answer.error["message"]
    if OWN in body["error"]["message"]:
        assert "[credential]" in answer.error["message"]
    if code.startswith("provider_"):
        assert "gateway" not in answer.error["message"]
        assert answer.headers["x-should-retry"] == "false"
    with here.house.openai(key) as client, pytest.raises(getattr(openai, error)):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert here.house.troubled() == set()
    here.forget()
    here.upstream.scripts = {"*": answers(WHOLE)}
    others = here.ask(here.house.new_key())
    assert (others.status, others.headers["x-posthouse-deployment"]) == (200, "main/m")
    assert here.said() == [OPERATORS]


@pytest.mark.req("OWNC-004")
def test_an_error_inside_a_stream_is_masked_and_the_callers_too(here: Place) -> None:
    bad = fault(f"bad key {OWN}", code="invalid_api_key")
    here.upstream.scripts = {"*": frames(bad)}
    answer = here.ask(here.key("main"), stream=True)
    assert (answer.status, answer.error["code"]) == (401, "provider_credential_refused")
    assert OWN.encode() not in answer.body
    gate = here.upstream.gate()
    here.upstream.scripts = {"*": held(gate, [chunk({"content": "Hi"})], bad)}
    with here.house.wire() as wire:
        wire.send(request("/v1/chat/completions", asked(stream=True), here.key("main")))
        assert wire.head()[0] == 200
        gate.open()
        body = b"".join(wire.pieces())
    assert b"provider_credential_refused" in body
    assert OWN.encode() not in body
    assert here.house.troubled() == set()


@pytest.mark.req("OWNC-004")
def test_what_ails_the_operators_credential_is_nothing_to_it_and_stays(tmp_path: Path) -> None:
    with lending(tmp_path) as place:
        place.upstream.scripts = {"*": answers(fault("slow"), 429, "retry-after: 60\r\n")}
        assert place.ask(place.house.new_key(), "n").status == 429
        ails = place.house.troubled()
        assert ails == {("main/n", "chat.completions")}
        place.forget()
        place.upstream.scripts = {"*": answers(WHOLE)}
        assert place.ask(place.house.new_key(), "n").status == 429
        assert place.ask(place.key("main"), "n").status == 200
        assert place.said() == [OWN]
        assert place.house.troubled() == ails


# --- a provider's own interface --------------------------------------------------------------------------------------
@pytest.mark.req("OWNC-005")
def test_a_providers_own_interface_is_asked_with_it(here: Place) -> None:
    here.upstream.scripts = {"*": answers({"object": "list", "data": []})}
    key = here.key("main", "several")
    for name in ("main", "several"):
        with here.house.wire() as wire:
            answer = wire.ask(f"/providers/{name}/files", b"", key, "GET")
        assert answer.status == 200
        record = here.house.stored(answer.headers["x-request-id"]).record
        assert (record["own_fee_ppm"], record["cost"]) == (0, 0)
    assert here.said() == [OWN, OWN]


@pytest.mark.req("OWNC-005")
@pytest.mark.parametrize("status", [400, 401, 403, 429])
def test_there_an_error_passes_masked_and_changes_nothing_for_others(here: Place, status: int) -> None:
    escaped = OWN.replace("/", "\\/")
    here.upstream.scripts = {"*": answers(f'{{"error":"{OWN} or {escaped} is bad"}}'.encode(), status)}
    with here.house.wire() as wire:
        answer = wire.ask("/providers/several/files", b"", here.key("several"), "GET")
    assert answer.status == status
    assert answer.json == {"error": "[credential] or [credential] is bad"}
    assert here.said() == [OWN]
    assert here.house.troubled() == set()


@pytest.mark.req("OWNC-005")
@pytest.mark.parametrize(
    ("name", "accounts", "code"),
    [
        ("closed", ("main",), "own_credential_no_account"),
        ("headed", ("headed",), "own_credential_unsupported"),
    ],
)
def test_there_too_only_at_accounts_that_may_have_it(
    here: Place, name: str, accounts: tuple[str, ...], code: str
) -> None:
    with here.house.wire() as wire:
        answer = wire.ask(f"/providers/{name}/files", b"", here.key(*accounts), "GET")
    assert (refused(answer).status, answer.error["code"]) == (403, code)
    assert here.said() == []


# --- limits and money ------------------------------------------------------------------------------------------------
@pytest.mark.req("OWNC-006")
def test_limits_of_the_key_hold_and_their_refusal_is_ours(here: Place) -> None:
    key = here.key("main", limits={"rpm": 1})
    assert here.ask(key).status == 200
    answer = here.ask(key)
    assert (refused(answer).status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert here.said() == [OWN]


@pytest.mark.req("OWNC-006")
@pytest.mark.parametrize(
    ("fee", "cost"),
    [("0", 0), ("2.5", 2_025), ("0.001", 1), ("0.0001", 0), ("100", COST), ("150", COST * 3 // 2)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_part_of_the_price_is_charged(here: Place, fee: str, cost: int, stream: bool) -> None:
    if stream:
        here.upstream.scripts = {"*": streams(["Hello"], USAGE)}
    budget = {"amount": "1", "currency": "USD", "period": "total"}
    answer = here.ask(here.key("main", fee=fee, budget=budget), stream=stream, max_tokens=20)
    assert answer.status == 200
    stored = here.house.stored(answer.headers["x-request-id"])
    assert (stored.record["cost"], stored.record["currency"], stored.record["priced"]) == (cost, "USD", True)
    assert (stored.record["input"], stored.record["output"], stored.record["usage_source"]) == (11, 7, "provider")
    assert stored.hold is not None
    assert (stored.hold["state"], stored.hold["charged"]) == ("settled", cost)
    assert stored.hold["amount"] >= cost
    assert sum(entry["amount"] for entry in stored.entries) == 0
    shown = here.house.admin("GET", f"/requests/{answer.headers['x-request-id']}")
    assert (shown["own_credential"], shown["fee_percent"]) == (True, fee)
    told = explained(here, answer.headers["x-request-id"])
    assert (told["price"]["agrees"], told["price"]["fee_percent"]) == (True, fee)
    ordinary = here.ask(here.house.new_key())
    here.house.stored(ordinary.headers["x-request-id"])
    shown = here.house.admin("GET", f"/requests/{ordinary.headers['x-request-id']}")
    assert (shown["own_credential"], shown["fee_percent"]) == (False, None)


@pytest.mark.req("OWNC-006")
@pytest.mark.parametrize("begun", [False, True])
def test_who_leaves_pays_the_part_of_what_was_counted(here: Place, begun: bool) -> None:
    gate, before = here.upstream.gate(), here.house.last_id()
    here.upstream.scripts = {"*": held(gate, [chunk({"content": "Hello there"})] if begun else [])}
    with here.house.wire() as wire:
        wire.send(request("/v1/chat/completions", asked(stream=True), here.key("main", fee="50")))
        if begun:
            wire.until(b"Hello there")
        assert gate.reached.wait(20)
        wire.leave()
    assert here.upstream.visit().left.wait(20)
    stored = here.house.only_since(before)
    read, written = stored.record["input"], stored.record["output"]
    assert read > 0
    assert (written > 0) is begun
    assert stored.record["cost"] == (read * 1_000 + written * 10_000) // 2
    assert (stored.record["usage_source"], stored.record["ended_by"]) == ("estimated", "client")
    assert stored.record["own_fee_ppm"] == 500_000


@pytest.mark.req("OWNC-003", "OWNC-006")
def test_every_prompt_of_several_is_asked_with_it_and_charged_its_part(here: Place) -> None:
    here.upstream.scripts = {"*": answers(WHOLE)}
    before = here.house.last_id()
    answer = here.send(
        "/v1/completions",
        {"model": "m", "prompt": ["One", "Two"]},
        f"authorization: Bearer {here.key('main', fee='10')}\r\n",
    )
    assert answer.status == 200, answer.body
    assert here.said() == [OWN, OWN]
    costs = [stored.record["cost"] for stored in here.house.stored_since(before)]
    assert costs == [COST // 10, COST // 10]


@pytest.mark.req("OWNC-006")
def test_a_budget_is_held_and_refused_by_the_fee_alone(here: Place) -> None:
    least = {"amount": "0.000001", "currency": "USD", "period": "total"}
    assert here.ask(here.key("main", budget=least), max_tokens=20).status == 200
    assert here.ask(here.key("main", budget=least, fee="0.1"), max_tokens=20).status == 200  # holds about 230
    answer = here.ask(here.key("main", budget=least, fee="100"), max_tokens=20)
    assert (refused(answer).status, answer.error["code"]) == (429, "insufficient_quota")


@pytest.mark.req("OWNC-006")
def test_without_a_price_only_a_fee_stands_in_the_way(here: Place) -> None:
    budget = {"amount": "1", "currency": "EUR", "period": "total"}
    answer = here.ask(here.key("main", budget=budget), "n")
    assert answer.status == 200
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["cost"], record["currency"], record["priced"]) == (0, "EUR", True)
    assert (record["input"], record["output"], record["own_fee_ppm"]) == (11, 7, 0)
    answer = here.ask(here.key("main", budget=budget, fee="1"), "n")
    assert (refused(answer).status, answer.error["code"]) == (403, "model_unpriced")
    answer = here.ask(here.key("main", fee="1"), "n")
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["cost"], record["priced"], record["own_fee_ppm"]) == (None, False, 10_000)


@pytest.mark.req("OWNC-006")
def test_over_the_gate_of_several_servers_it_is_the_same(tmp_path: Path, postgres_url: str, redis_server: str) -> None:
    environ = {"POSTHOUSE_DATABASE_URL": postgres_url, "POSTHOUSE_REDIS_URL": redis_server}
    with lending(tmp_path, environ) as place:
        place.upstream.scripts = {"*": answers(WHOLE)}
        budget = {"amount": "0.000015", "currency": "USD", "period": "total"}
        keys = {fee: place.key("main", fee=fee, budget=budget) for fee in ("0", "5", "100")}
        assert place.ask(keys["0"], "n", max_tokens=20).status == 200
        assert [place.ask(keys["0"], max_tokens=20).status for _ in range(3)] == [200, 200, 200]
        # Each holds about 6,250 nano-units and costs 4,050.
        assert [place.ask(keys["5"], max_tokens=9).status for _ in range(5)] == [200, 200, 200, 429, 429]
        assert place.ask(keys["100"], max_tokens=20).status == 429
        assert set(place.said()) == {OWN}


@pytest.mark.req("OWNC-004")
def test_an_error_in_a_stream_that_passes_is_masked_too(here: Place) -> None:
    start = {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": [], "model": "a"}}
    events = [start, {"type": "error", "error": {"type": "authentication_error", "message": f"bad key {OWN}"}}]
    framed = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events]
    here.upstream.scripts = {"*": frames(*framed)}
    answer = here.send("/v1/messages", {**MESSAGES, "model": "a", "stream": True}, f"x-api-key: {here.key()}\r\n")
    assert answer.status == 401
    assert OWN.encode() not in answer.body
    gate = here.upstream.gate()
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}

    async def script(visit: Any) -> None:
        await visit.start_stream()
        for one in (start, block, text):
            await visit.frame(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode())
        await gate.passed(visit)
        await visit.frame(framed[1])
        await visit.end_stream()

    here.upstream.scripts = {"*": script}
    with here.house.wire() as wire:
        body = {**MESSAGES, "model": "a", "stream": True}
        wire.send(request("/v1/messages", body, here.key()))
        assert wire.head()[0] == 200
        gate.open()
        got = b"".join(wire.pieces())
    assert b"Hello" in got
    assert b"event: error" in got
    assert OWN.encode() not in got
