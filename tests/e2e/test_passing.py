"""A provider's own interface, as it is, behind the keys of the house: what passes, what does not, who may."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.answers import answers, asked, chunk, completion, streams
from tests.e2e.house import ADMIN_KEY, PRICE, Place, place, provider, running
from tests.e2e.upstream import Upstream, Visit
from tests.e2e.wire import Response, payloads, request

SECRET: Final = "upstream-credential-1"
SECOND: Final = 'passthrough = true\nheaders = { "x-team" = "blue" }\n'


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Upstream() as upstream, socket.socket() as unused:
        config = provider(upstream.base_url, '"m"', SECOND) + provider(upstream.base_url, '"c"', name="closed") + PRICE
        several = provider(upstream.base_url, '"s"', "passthrough = true", name="several")
        config += several.replace('credential = "upstream-credential-1"', 'credentials = ["first-1", "second-2"]')
        config += several.replace('"several"', '"limited"').replace(
            'credential = "upstream-credential-1"', 'credentials = ["first-1", "second-2"]'
        )
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        config += provider(dead, '"d"', "passthrough = true", name="dead")
        environ = {"POSTHOUSE_SERVER_BODY_LIMIT": str(64 << 20)}
        with running(tmp_path_factory.mktemp("house"), config, environ) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()
    here.upstream.early = {}
    here.upstream.scripts = {"*": answers({"object": "list", "data": []})}


def ask(here: Place, path: str, body: bytes | dict[str, Any] = b"", key: str = ADMIN_KEY, **more: str) -> Response:
    with here.house.wire() as wire:
        return wire.ask(f"/providers/main/{path}", body, key, more.get("method", "POST"), more.get("extra", ""))


# --- what passes -----------------------------------------------------------------------------------------------------
@pytest.mark.req("PASS-001")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_every_method_reaches_the_provider_at_its_own_path(here: Place, method: str) -> None:
    answer = ask(here, "files/a%2Fb?limit=2&after=%20x", method=method)
    assert answer.status == 200
    assert answer.body == (b"" if method == "HEAD" else b'{"object": "list", "data": []}')
    visit = here.upstream.visit()
    assert visit.head.split("\r\n")[0] == f"{method} /v1/files/a%2Fb?limit=2&after=%20x HTTP/1.1"
    assert visit.headers["authorization"] == f"Bearer {SECRET}"
    assert visit.headers["x-team"] == "blue"
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["operation"], record["model_asked"], record["deployment"]) == ("passthrough", "passthrough", "main")


@pytest.mark.req("PASS-002")
@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
@pytest.mark.parametrize("kind", ["application/octet-stream", "application/json", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("sized", [True, False])
def test_a_body_passes_byte_for_byte(here: Place, size: int, kind: str, sized: bool) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    extra = f"content-type: {kind}\r\n"
    if sized:
        data = f"content-length: {size}\r\n\r\n".encode() + body
    else:
        pieces = [body[at : at + 50_000] for at in range(0, size, 50_000)]
        data = b"transfer-encoding: chunked\r\n\r\n"
        data += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    with here.house.wire() as wire:
        head = request("/providers/main/upload", b"", ADMIN_KEY, "PUT", extra)
        wire.send(head.removesuffix(b"\r\n") + data)
        assert wire.response().status == 200
    visit = here.upstream.visit()
    assert visit.body == body
    assert visit.headers["content-type"] == kind


@pytest.mark.req("PASS-002")
def test_an_answer_passes_byte_for_byte_and_as_it_comes(here: Place) -> None:
    gate = here.upstream.gate()
    pieces = [bytes(range(256)) * 300, b"\r\n\r\ndata: x\n\n", b"\x00"]

    async def script(visit: Visit) -> None:
        head = b"HTTP/1.1 206 Partial\r\ncontent-type: audio/x\r\ncontent-range: bytes 0-9/10\r\n"
        await visit.send(head + b"transfer-encoding: chunked\r\n\r\n")
        await visit.frame(pieces[0])
        await gate.passed(visit)
        await visit.frame(pieces[1])
        await visit.frame(pieces[2])
        await visit.end_stream()

    here.upstream.scripts["*"] = script
    with here.house.wire() as wire:
        wire.send(request("/providers/main/sound", key=ADMIN_KEY, method="GET", extra="range: bytes=0-9\r\n"))
        status, headers = wire.head()
        assert (status, headers["content-type"], headers["content-range"]) == (206, "audio/x", "bytes 0-9/10")
        got = b""
        for piece in wire.pieces():
            got += piece
            if got == pieces[0]:
                gate.open()
        assert got == b"".join(pieces)
    assert here.upstream.visit().headers["range"] == "bytes=0-9"


@pytest.mark.req("PASS-002")
def test_a_stream_passes_with_the_usage_that_nobody_asked_for_left_out(here: Place) -> None:
    here.upstream.scripts["m"] = streams(["One", " two"], None)
    answer = ask(here, "chat/completions", asked(stream=True))
    assert here.upstream.visit().json == asked(stream=True)
    words = [data["choices"][0]["delta"].get("content") for data in payloads(answer.body) if data != "[DONE]"]
    assert words == ["", "One", " two", None]
    assert payloads(answer.body)[-1] == "[DONE]"


@pytest.mark.req("PASS-002")
def test_a_vendors_sdk_is_pointed_there_by_its_base_url(here: Place) -> None:
    here.upstream.scripts["m"] = streams(["One", " two"])
    client = here.house.openai(base="/providers/main")
    try:
        with client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        ) as chunks:
            found = list(chunks)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in found if chunk.choices) == "One two"
        assert found[-1].usage is not None
        here.upstream.scripts["*"] = answers({"id": "file-1", "object": "file", "bytes": 3, "filename": "a.jsonl"})
        assert client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch").id == "file-1"
        assert b'filename="a.jsonl"' in here.upstream.visit().body
        here.upstream.scripts["*"] = answers(b"{}\n", extra="content-type: application/octet-stream\r\n")
        assert client.files.content("file-1").content == b"{}\n"
    finally:
        client.close()


@pytest.mark.req("PASS-003")
def test_of_the_heads_passes_what_is_allowed_and_nothing_else(here: Place) -> None:
    extra = "cookie: a=b\r\nx-forwarded-for: 10.0.0.1\r\nx-api-key: mine\r\nother-beta: b1\r\nuser-agent: client\r\n"
    shown = "location: https://internal/x\r\nset-cookie: a=b\r\nserver: internal\r\nretry-after: 7\r\nx-other: 1\r\n"
    here.upstream.scripts["*"] = answers({}, extra=shown)
    answer = ask(here, "files", method="GET", extra=extra)
    sent = here.upstream.visit().headers
    assert set(sent) == {"host", "accept-encoding", "authorization", "user-agent", "x-team", "other-beta"}
    assert sent["user-agent"].startswith("posthouse/")
    assert ADMIN_KEY not in here.upstream.visit().head
    assert set(answer.headers) == {
        "date",
        "x-request-id",
        "content-type",
        "retry-after",
        "x-posthouse-deployment",
        "transfer-encoding",
    }


@pytest.mark.req("PASS-004")
@pytest.mark.parametrize(
    "path",
    [
        "../models",
        "files/../../x",
        "%2e%2e/x",
        "files/%2e%2e%2fx",
        "/files",
        "//evil/x",
        "http://evil/x",
        "f%00",
        "f%0a",
    ],
)
def test_a_path_that_leads_elsewhere_is_no_path(here: Place, path: str) -> None:
    answer = ask(here, path, method="GET")
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    assert here.upstream.visits == []


@pytest.mark.req("PASS-004")
def test_a_credential_in_the_query_is_refused(here: Place) -> None:
    answer = ask(here, f"models?key={ADMIN_KEY}", method="GET")
    assert (answer.status, answer.error["param"]) == (400, "key")
    assert here.upstream.visits == []


def test_a_compressed_body_is_refused(here: Place) -> None:
    answer = ask(here, "chat/completions", b"\x1f\x8b", extra="content-encoding: gzip\r\n")
    assert (answer.status, answer.error["code"]) == (400, "unsupported_encoding")


@pytest.mark.req("PASS-005")
@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 500, 503, 529])
def test_an_error_passes_with_its_status_and_costs_nothing(here: Place, status: int) -> None:
    said = {"error": {"message": f"Not with {SECRET}.", "odd": True}}
    here.upstream.scripts["*"] = answers(said, status, "location: https://internal/x\r\nretry-after: 3\r\n")
    answer = ask(here, "chat/completions", asked())
    assert (answer.status, answer.json["error"]) == (status, {"message": "Not with [credential].", "odd": True})
    assert answer.headers["retry-after"] == "3"
    assert "internal" not in str(answer.headers)
    stored = here.house.stored(answer.headers["x-request-id"])
    assert (stored.record["status"], stored.record["error_code"]) == (status, "provider_refused")
    assert (stored.record["cost"], stored.record["hold_state"], stored.entries) == (None, "released", [])


@pytest.mark.req("PASS-005")
def test_a_redirect_is_neither_followed_nor_shown(here: Place) -> None:
    here.upstream.scripts["*"] = answers({}, 302, "location: https://internal.example.com/x\r\n")
    answer = ask(here, "files", method="GET")
    assert (answer.status, answer.error["type"]) == (502, "upstream_error")
    assert "internal" not in str(answer)
    assert len(here.upstream.visits) == 1


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_none(here: Place, status: int) -> None:
    async def script(visit: Visit) -> None:
        await visit.send(b'HTTP/1.1 %d X\r\netag: "1"\r\n\r\n' % status)

    here.upstream.scripts["*"] = script
    with here.house.wire() as wire:
        for _ in range(2):  # and the connection goes on
            answer = wire.ask("/providers/main/files/1", b"", ADMIN_KEY, "DELETE")
            assert (answer.status, answer.headers["etag"], answer.body) == (status, '"1"', b"")


@pytest.mark.req("PASS-006")
def test_an_answer_that_breaks_off_is_not_taken_for_whole(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.frame(b"half")
        visit.reset()

    here.upstream.scripts["*"] = script
    with here.house.wire() as wire:
        wire.send(request("/providers/main/files", key=ADMIN_KEY, method="GET"))
        _, headers = wire.head()
        assert wire.rest() == b"4\r\nhalf\r\n"
    record = here.house.stored(headers["x-request-id"]).record
    assert (record["ended_by"], record["status"]) == ("upstream", 502)


def test_a_provider_that_cannot_be_reached_is_told_in_our_words(here: Place) -> None:
    async def script(visit: Visit) -> None:
        visit.reset()

    here.upstream.scripts["*"] = script
    answer = ask(here, "files", b"x")
    assert (answer.status, answer.error["type"]) == (502, "upstream_error")
    assert answer.headers["x-should-retry"] == "false"


def test_the_first_of_several_credentials_is_used(here: Place) -> None:
    with here.house.wire() as wire:
        for _ in range(3):
            assert wire.ask("/providers/several/files", b"", ADMIN_KEY, "GET").status == 200
    assert {visit.headers["authorization"] for visit in here.upstream.visits} == {"Bearer first-1"}


@pytest.mark.req("PASS-013")
def test_a_credential_that_is_limited_is_not_used_until_its_time(here: Place) -> None:
    async def script(visit: Visit) -> None:
        if visit.headers["authorization"] == "Bearer first-1":
            await visit.whole({"error": {"message": "Not now, first-1."}}, 429, "retry-after: 600\r\n")
        else:
            await visit.whole({"data": []})

    here.upstream.scripts["*"] = script
    with here.house.wire() as wire:
        answers_ = [wire.ask("/providers/limited/files", b"", ADMIN_KEY, "GET") for _ in range(3)]
    # The refusal is the client's to hear, and is not asked again by us; from then on the second one serves.
    assert [answer.status for answer in answers_] == [429, 200, 200]
    assert answers_[0].json["error"]["message"] == "Not now, [credential]."
    used = [visit.headers["authorization"] for visit in here.upstream.visits]
    assert used == ["Bearer first-1", "Bearer second-2", "Bearer second-2"]


@pytest.mark.req("PASS-014")
@pytest.mark.parametrize("body", [b"", b"x" * 100_000])
def test_only_a_connection_that_could_not_be_made_is_made_again(here: Place, body: bytes) -> None:
    kind = "content-type: text/plain\r\n"
    with here.house.wire() as wire:
        answer = wire.ask("/providers/dead/files", body, ADMIN_KEY, "POST", kind)
    assert (answer.status, answer.error["type"]) == (502, "upstream_error")
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["attempts"], record["cost"], record["ended_by"]) == (4, None, "upstream")
    assert [one["kind"] for one in json.loads(record["attempts_detail"])] == ["connect"] * 4

    async def breaks(visit: Visit) -> None:
        visit.reset()

    assert ask(here, "files", method="GET").status == 200  # its connection could serve again
    here.upstream.forget()
    here.upstream.scripts["*"] = breaks
    answer = ask(here, "files", body, extra=kind)
    assert (answer.status, len(here.upstream.visits)) == (502, 1)


PLAINLY: Final = [
    ("v1/messages", "messages"),
    ("messages", "messages"),
    ("v1/messages/count_tokens", "messages"),
    ("anthropic/v1/messages/batches/b1", "messages"),
    ("models/m:generateContent", "generate_content"),
    ("v1beta/tunedModels/m:streamGenerateContent", "generate_content"),
    ("v1beta/models/m:embedContent", "generate_content"),
    ("chat/completions", ""),
    ("v1/threads/t1/messages", ""),
    ("models/ft:gpt-4o:org::id", ""),
    ("v1/messagesx", ""),
    ("files", ""),
]


@pytest.mark.req("PASS-015")
@pytest.mark.parametrize(("path", "dialect"), PLAINLY)
@pytest.mark.parametrize("name", ["main", "closed"])
def test_an_error_of_ours_is_said_as_the_path_plainly_wants_it(here: Place, path: str, dialect: str, name: str) -> None:
    with here.house.wire() as wire:
        answer = wire.ask(f"/providers/{name}/{path}?key=x", b"{}", ADMIN_KEY)
    assert answer.status == (400 if name == "main" else 404)
    body = answer.json
    if dialect == "messages":
        assert (body["type"], set(body["error"]) >= {"type", "message"}) == ("error", True)
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
    elif dialect == "generate_content":
        assert body["error"]["status"] == ("INVALID_ARGUMENT" if name == "main" else "NOT_FOUND")
    else:
        assert answer.error["code"] == ("invalid_value" if name == "main" else "provider_not_open")


# --- bodies on their way ---------------------------------------------------------------------------------------------
@pytest.mark.req("PASS-007")
def test_an_upload_reaches_the_provider_as_it_comes(here: Place) -> None:
    gate = here.upstream.gate()
    got: list[bytes] = []

    async def script(visit: Visit) -> None:
        async for piece in visit.pieces():
            got.append(piece)
            if len(got) == 1:
                await gate.passed(visit)
        await visit.whole({"bytes": sum(map(len, got))})

    here.upstream.early["/v1/upload"] = script
    with here.house.wire() as wire:
        head = request("/providers/main/upload", b"", ADMIN_KEY, "PUT", "content-type: audio/x\r\n")
        wire.send(head.removesuffix(b"\r\n") + b"content-length: 300000\r\n\r\n" + bytes(100_000))
        assert gate.reached.wait(10)
        gate.open()
        wire.send(bytes(200_000))
        assert wire.response().json == {"bytes": 300_000}


@pytest.mark.req("PASS-007")
def test_a_provider_that_refuses_before_the_end_of_an_upload_is_heard(here: Place) -> None:
    async def script(visit: Visit) -> None:
        await visit.whole({"error": "too much"}, 413, "connection: close\r\n")
        await visit.until_left()
        visit.close()

    here.upstream.early["/v1/upload"] = script
    with here.house.wire() as wire:
        head = request("/providers/main/upload", b"", ADMIN_KEY, "PUT", "content-type: audio/x\r\n")
        wire.send(head.removesuffix(b"\r\n") + b"content-length: 30000000\r\n\r\n" + bytes(100_000))
        answer = wire.response()
    assert (answer.status, answer.json, answer.headers["connection"]) == (413, {"error": "too much"}, "close")


@pytest.mark.req("PASS-007")
def test_an_upload_beyond_the_limit_ends_and_costs_nothing(here: Place) -> None:
    async def script(visit: Visit) -> None:
        async for _ in visit.pieces():
            pass

    here.upstream.early["/v1/upload"] = script
    before = here.house.last_id()
    with here.house.wire() as wire:
        head = request("/providers/main/upload", b"", ADMIN_KEY, "PUT", "transfer-encoding: chunked\r\n")
        wire.send(head)
        for _ in range(65):
            wire.send(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        answer = wire.response()
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    stored = here.house.only_since(before)
    assert (stored.record["cost"], stored.record["hold_state"]) == (None, "released")


@pytest.mark.req("PASS-008")
def test_a_client_that_leaves_its_upload_cancels_it_and_pays_nothing(here: Place) -> None:
    here.upstream.early["/v1/upload"] = _reads_all
    before = here.house.last_id()
    with here.house.wire() as wire:
        head = request("/providers/main/upload", b"", ADMIN_KEY, "PUT", "content-type: audio/x\r\n")
        wire.send(head.removesuffix(b"\r\n") + b"content-length: 300000\r\n\r\n" + bytes(100_000))
        visit = here.upstream.visit()
        left = wire.leave()
    assert visit.left.wait(10)
    assert visit.left_at - left < 1.0
    stored = here.house.only_since(before)
    assert (stored.record["ended_by"], stored.record["hold_state"]) == ("client", "released")


async def _reads_all(visit: Visit) -> None:
    async for _ in visit.pieces():
        pass
    await visit.whole({})


@pytest.mark.req("PASS-008")
def test_a_client_that_leaves_an_answer_cancels_it_and_it_is_settled_once(here: Place) -> None:
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event(chunk({"content": "One"}))
        await gate.passed(visit)

    here.upstream.scripts["m"] = script
    before = here.house.last_id()
    with here.house.wire() as wire:
        wire.send(request("/providers/main/chat/completions", asked(stream=True), ADMIN_KEY))
        assert wire.head()[0] == 200
        next(wire.events())
        assert gate.reached.wait(10)
        left = wire.leave()
    visit = here.upstream.visit()
    assert visit.left.wait(10)
    assert visit.left_at - left < 1.0
    stored = here.house.only_since(before)
    assert (stored.record["ended_by"], stored.record["usage_source"]) == ("client", "estimated")
    assert (stored.record["hold_state"], stored.record["output"]) == ("settled", 1)


# --- who may ---------------------------------------------------------------------------------------------------------
@pytest.mark.req("PASS-009")
@pytest.mark.parametrize("name", ["closed", "nobody", "", "m", "main%2F..", "MAIN"])
def test_an_account_that_is_not_open_is_not_there(here: Place, name: str) -> None:
    with here.house.wire() as wire:
        answer = wire.ask(f"/providers/{name}/files", b"", ADMIN_KEY, "GET")
    assert (answer.status, answer.error["code"]) == (404, "provider_not_open")
    assert here.upstream.visits == []


@pytest.mark.req("PASS-009")
def test_a_key_for_certain_models_may_not_use_what_is_beside_them(here: Place) -> None:
    restricted, free = here.house.new_key(models=["m"]), here.house.new_key()
    answer = ask(here, "chat/completions", asked(), restricted)
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
    assert ask(here, "files", key="sk-ph-nobody", method="GET").status == 401
    assert here.upstream.visits == []
    assert ask(here, "files", key=free, method="GET").status == 200


@pytest.mark.req("PASS-010")
def test_limits_on_requests_and_tokens_hold(here: Place) -> None:
    key = here.house.new_key(limits={"rpm": 2})
    assert [ask(here, "files", key=key, method="GET").status for _ in range(3)] == [200, 200, 429]
    here.upstream.scripts["m"] = answers(completion())
    spender = here.house.new_key(limits={"tpm": 30})
    first = ask(here, "chat/completions", asked(), spender)
    assert (first.status, first.headers["x-ratelimit-limit-tokens"]) == (200, "30")
    second = ask(here, "chat/completions", asked(), spender)
    assert (second.status, second.error["type"]) == (429, "tokens")


@pytest.mark.req("PASS-010")
def test_a_limit_on_concurrency_holds_while_an_answer_comes(here: Place) -> None:
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.frame(b"a")
        await gate.passed(visit)
        await visit.end_stream()

    here.upstream.scripts["*"] = script
    key = here.house.new_key(limits={"concurrency": 1})
    with here.house.wire() as wire:
        wire.send(request("/providers/main/files", key=key, method="GET"))
        assert wire.head()[0] == 200
        assert ask(here, "files", key=key, method="GET").status == 429
        gate.open()
        assert b"".join(wire.pieces()) == b"a"
    assert ask(here, "files", key=key, method="GET").status == 200


def test_a_reload_opens_and_closes_an_account(tmp_path: Path) -> None:
    with place(tmp_path) as made:
        house = made.house
        made.upstream.scripts["*"] = answers({})
        assert ask(made, "files", method="GET").status == 404
        config = tmp_path / "posthouse.toml"
        text = config.read_text()
        config.write_text(text.replace('name = "main"', 'name = "main"\npassthrough = true'))
        house.admin("POST", "/config/reload")
        assert ask(made, "files", method="GET").status == 200
        config.write_text(text)
        house.admin("POST", "/config/reload")
        assert ask(made, "files", method="GET").status == 404


@pytest.mark.req("PASS-002")
def test_json_that_is_for_no_known_endpoint_passes_and_its_model_is_recorded(here: Place) -> None:
    body = json.dumps({"training_file": "file-1", "model": "m", "x": "y" * 200_000}).encode()
    answer = ask(here, "fine_tuning/jobs", body)
    assert answer.status == 200
    assert here.upstream.visit().body == body
    record = here.house.stored(answer.headers["x-request-id"]).record
    assert (record["model_asked"], record["model"], record["cost"], record["priced"]) == ("m", "m", None, False)
