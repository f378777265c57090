"""A credential that a caller brings is written nowhere: everything that a server leaves behind is looked through."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from sqlalchemy import select

from posthouse.billing.verify import verify
from posthouse.storage.database import Database
from posthouse.storage.tables import metadata
from tests.e2e.answers import answers, asked, chunk, completion, fault, frames, streams
from tests.e2e.house import ADMIN_KEY
from tests.e2e.own import OWN, USAGE, config
from tests.e2e.process import Process, process
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Response, eventually, request

# Whatever of it somebody could have kept: all of it, as it is written elsewhere, and its longest part.
FORMS: Final = (
    OWN,
    OWN.replace("/", "\\/"),
    quote(OWN, safe=""),
    quote(OWN),
    base64.b64encode(OWN.encode()).decode().rstrip("=")[:-2],
    base64.urlsafe_b64encode(OWN.encode()).decode().rstrip("=")[:-2],
    OWN.encode().hex(),
    "caller:Zq7xW",
)
BAD: Final = fault(f"Incorrect API key provided: {OWN}", code="invalid_api_key")


def ask(house: Process, path: str, body: Any, lines: str, method: str = "POST") -> Response:
    with house.wire() as wire:
        wire.send(request(path, body, method=method, extra=lines))
        return wire.response()


def admin(house: Process, path: str) -> bytes:
    with house.wire() as wire:
        answer = wire.ask(f"/admin/api{path}", b"", ADMIN_KEY, "GET")
        assert answer.status == 200, answer.body
        return answer.body


def every_way(house: Process, upstream: Upstream, elsewhere: Upstream, key: str) -> Iterator[Response]:
    """Answers, refusals and failures, on every face."""
    bearer = f"authorization: Bearer {key}\r\n"
    once = "idempotency-key: {}\r\n"
    for number, script in enumerate(
        [
            answers(completion(usage=USAGE)),
            answers(BAD, 401),
            answers(fault(f"what is {OWN}?"), 400),
            answers(fault(f"limit of {OWN}"), 429),
            answers(fault(f"broken {OWN}"), 500),
            answers(f"plain {OWN}".encode(), 502, "content-type: text/plain\r\n"),
            answers(f"<{OWN}".encode()),
        ]
    ):
        upstream.scripts = elsewhere.scripts = {"*": script}
        for model in ("m", "any", "a", "g"):
            yield ask(house, "/v1/chat/completions", asked(model), bearer + once.format(f"{number}{model}"))
        yield ask(house, f"/v1beta/models/m:generateContent?key={quote(key)}", {"contents": []}, "")
        yield ask(house, "/v1/messages", {**asked(), "max_tokens": 9}, f"x-api-key: {key}\r\n")
        yield ask(house, "/v1/embeddings", {"model": "m", "input": "Hi"}, f"api-key: {key}\r\n")
        if number < 6:  # an answer passes there as it is
            yield ask(house, "/providers/main/files", b"", bearer, "GET")
        yield ask(house, "/v1/models", b"", bearer, "GET")
        yield ask(house, "/nowhere", b"", bearer, "GET")
        yield ask(house, "/admin/api/keys", b"", bearer, "GET")
    upstream.scripts = {"*": streams(["Hello", " you"], USAGE)}
    yield ask(house, "/v1/chat/completions", asked(stream=True), bearer + once.format("s"))
    upstream.scripts = {"*": frames(chunk({"content": "Hi"}), BAD)}
    yield ask(house, "/v1/chat/completions", asked(stream=True), bearer)
    for wrong in (f"{OWN} {key}", f"{key}:{OWN}", f"{OWN}:sk-ph-unknown", f"{OWN}\\{key}", f"{OWN}:{ADMIN_KEY}"):
        yield ask(house, "/v1/chat/completions", asked(), f"authorization: Bearer {wrong}\r\n")
    shake = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    shake += "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    for offered in (key, f'"{key}', f"{key};x"):
        lines = f"{shake}sec-websocket-protocol: posthouse.key.{offered}\r\n"
        yield ask(house, "/v1/chat/completions", b"", lines, "GET")


def dumped(url: str) -> str:
    """Every row of every table, once the books are in order."""
    database = Database(url)
    try:
        found = verify(database, 4_000_000_000.0)
        assert found.ok, found.problems
        assert found.holds_open == 0
        with database.read() as connection:
            return "\n".join(
                f"{table.name} {row!r}" for table in metadata.sorted_tables for row in connection.execute(select(table))
            )
    finally:
        database.close()


@pytest.mark.req("OWNC-007")
def test_nothing_that_a_server_writes_or_says_holds_it(tmp_path: Path, database_url: str) -> None:
    environ = {
        "POSTHOUSE_DATABASE_URL": database_url,
        "POSTHOUSE_LOG_LEVEL": "debug",
        "POSTHOUSE_ROUTING_BACKOFF_BASE": "0.01",
        "PYTHONASYNCIODEBUG": "1",
    }
    with Upstream() as upstream, Upstream() as elsewhere:
        with process(tmp_path, config(upstream, elsewhere), environ) as house:
            made = ask(
                house,
                "/admin/api/keys",
                {"name": "k", "own_credential": {"accounts": ["main", "twin", "messages", "contents"]}},
                f"authorization: Bearer {ADMIN_KEY}\r\n",
            )
            assert made.status == 201, made.body
            key = f"{OWN}:{made.json['key']}"
            said = list(every_way(house, upstream, elsewhere, key))
            assert sum(answer.status == 200 for answer in said) > 10
            eventually(lambda: b"req_" in admin(house, "/requests"), "nothing is recorded")
            shown = [
                admin(house, "/requests"),
                admin(house, "/usage"),
                admin(house, "/providers"),
                admin(house, "/config"),
            ]
            for answer in said:
                with house.wire() as wire:
                    path = f"/admin/api/requests/{answer.headers['x-request-id']}"
                    shown += [wire.ask(path + more, b"", ADMIN_KEY, "GET").body for more in ("", "/explain")]
            with house.wire() as wire:
                shown.append(wire.ask("/metrics", b"", None, "GET").body)
            # Whoever brought it is told everything but that; of an answer's head too.
            shown += [answer.body + repr(answer.headers).encode() for answer in said]
            house.terminate()
            assert house.ended() == 0
        # Not in vain: it was sent, and nothing of the operator's was in its place.
        heads = [visit.head for visit in upstream.visits]
        assert sum(OWN in head for head in heads) > 40
        assert not any("upstream-credential-1" in head for head in heads)
        assert elsewhere.visits == []
        logged = f"{house.printed}{house.logged}"
        assert '"event":"request"' in logged
    dump = dumped(database_url)
    assert "[credential]" in dump
    left = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(left) > 1
    places = {"log": logged.encode(), "dump": dump.encode(), **left}
    places |= {f"answer {number}": body for number, body in enumerate(shown)}
    found = {(place, form) for place, data in places.items() for form in FORMS if form.encode() in data}
    assert found == set()
