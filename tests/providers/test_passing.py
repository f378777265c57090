"""What may be asked below a provider's address, and what is shown of its answer."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest, NotFound
from posthouse.core.requests import Operation
from posthouse.providers.model import Provider, ProviderAccount
from posthouse.providers.passing import (
    Parcel,
    checked_query,
    checked_rest,
    endpoint_of,
    head_below,
    model_in,
    request_below,
)
from posthouse.upstream.head import HeadWriter
from posthouse.upstream.model import UpstreamRequest

CREDENTIAL: Final = "made-up-credential"


def account(base_url: str = "https://llm.example.com/v1", **more: object) -> ProviderAccount:
    row = Provider(
        name="sample",
        title="Sample",
        docs="",
        checked="2026-11-21",
        auth="x-api-key",
        headers=(("sample-version", "2023-01-01"), ("x-row", "row")),
    )
    fields = {"name": "main", "row": row, "base_url": base_url, "credential": CREDENTIAL, **more}
    return ProviderAccount(**fields)  # type: ignore[arg-type]


def below(rest: str, query: str = "", method: bytes = b"GET", base_url: str = "https://llm.example.com/v1") -> bytes:
    return request_below(account(base_url), Parcel(method, rest, query, {}), 1.0).target


GOOD: Final = [
    "",
    "files",
    "files/",
    "files/file-1/content",
    "models/org%2Fname:generateContent",
    "a.b/..c/c../x;v=1/%E4%BD%A0",
    "v1/files",
]


@pytest.mark.parametrize("rest", GOOD)
def test_a_path_passes_as_it_is_written(rest: str) -> None:
    assert checked_rest(rest) == rest


@pytest.mark.parametrize(
    "rest",
    [
        "..",
        "../admin",
        "files/..",
        "files/../../admin",
        "files/./x",
        ".",
        "%2e%2e/admin",
        "files/%2E%2e/x",
        "files%2f..%2fadmin",
        "..%2fadmin",
        "files/..%5c..%5cadmin",
        "%252e%252e/admin",
        "%25252e%25252e%25252fadmin",
        "..;/admin",
        "files/..;x=1/admin",
        "/files",
        "//evil.example.com/x",
        "files//x",
        "http://evil.example.com/x",
        "http:%2f%2fevil.example.com",
        "%2fevil",
        "files%00",
        "files%0d%0ax-evil:1",
        "files%0A",
        "files%7f",
        "files%",
        "files%2",
        "files%zz",
        "files\\x",
        "files x",
        "files#x",
        "files?x",
        "fil\x00es",
        "\u4f60",
        "x" * 3000,
    ],
)
def test_a_path_that_could_lead_elsewhere_is_no_path(rest: str) -> None:
    with pytest.raises(NotFound) as refused:
        checked_rest(rest)
    assert refused.value.code == "unknown_url"


@given(rest=st.text(alphabet="abz0./%2eEfF5cC;:~", max_size=24))
def test_what_is_no_good_never_comes_through(rest: str) -> None:
    try:
        checked = checked_rest(rest)
    except NotFound:
        return
    target = below(checked).decode()
    assert target == f"/v1/{checked.removeprefix('v1/')}"
    assert ".." not in [part.partition(";")[0] for part in target.replace("%2e", ".").replace("%2E", ".").split("/")]


def test_the_path_and_the_query_stand_behind_the_base_url() -> None:
    assert below("files/a%2Fb", "limit=2&after=%20x") == b"/v1/files/a%2Fb?limit=2&after=%20x"
    assert below("x", base_url="http://127.0.0.1:8000") == b"/x"
    assert below("x", base_url="https://llm.example.com/api/paas/v4") == b"/api/paas/v4/x"


@pytest.mark.parametrize(
    ("base_url", "rest", "target"),
    [
        ("https://llm.example.com/v1", "v1/files", b"/v1/files"),
        ("https://llm.example.com/v1", "v1/v1/files", b"/v1/v1/files"),
        ("https://llm.example.com/v1beta", "v1beta/models", b"/v1beta/models"),
        ("https://llm.example.com/v1beta", "v1/models", b"/v1beta/v1/models"),
        ("https://llm.example.com/v1", "v1", b"/v1/v1"),
        ("https://llm.example.com/api", "api/files", b"/api/api/files"),
        ("https://llm.example.com", "v1/files", b"/v1/files"),
    ],
)
def test_a_version_is_not_doubled(base_url: str, rest: str, target: bytes) -> None:
    assert below(rest, base_url=base_url) == target


@pytest.mark.parametrize("query", [b"", b"limit=2&after=x", b"a=%2F&b[]=1&c={x}", b"keys=1&monkey=2&apikeys=3"])
def test_a_query_passes_as_it_is_written(query: bytes) -> None:
    assert checked_query(query) == query.decode()


@pytest.mark.parametrize(
    "query",
    [
        b"key=sk-ph-mine",
        b"a=1&KEY=x",
        b"a=1&%6bey=x",
        b"api_key=x",
        b"api-key=x",
        b"access_token=x",
        b"key",
        b"key=",
        b"a=%00",
        b"a=%0d%0a",
        b"a=\x80",
        b"a b",
        b"a=1#x",
    ],
)
def test_a_query_with_a_credential_or_strange_characters_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        checked_query(query)
    assert "sk-ph-mine" not in refused.value.message


@pytest.mark.parametrize(
    ("rest", "endpoint"),
    [
        ("chat/completions", "chat.completions"),
        ("v1/chat/completions", "chat.completions"),
        ("chat/completions/", "chat.completions"),
        ("Chat/Completions", "chat.completions"),
        ("%63hat/completions", "chat.completions"),
        ("%2563hat%2Fcompletions", "chat.completions"),
        ("chat/completions;x=1", "chat.completions"),
        ("deployments/x/chat/completions", "chat.completions"),
        ("responses", "responses"),
        ("v1/messages", "messages"),
        ("completions", "completions"),
        ("embeddings", "embeddings"),
        ("models/m:generateContent", "generate_content"),
        ("models/m:streamGenerateContent", "generate_content"),
        ("models/m:%73treamGenerateContent", "generate_content"),
        ("models/m:countTokens", None),
        ("responses/resp_1/cancel", None),
        ("messages/batches", None),
        ("files", None),
        ("xcompletions", None),
        ("", None),
    ],
)
def test_an_endpoint_is_known_however_its_path_is_spelled(rest: str, endpoint: Operation | None) -> None:
    assert endpoint_of(b"POST", rest) == endpoint
    assert endpoint_of(b"GET", rest) is None


@pytest.mark.parametrize(
    ("rest", "model"),
    [
        ("models/m-1:generateContent", "m-1"),
        ("models/org%2Fm:generateContent", "org/m"),
        ("openai/deployments/gpt/chat/completions", "gpt"),
        ("engines/ada/completions", "ada"),
        ("models", None),
        ("models/m", None),
        ("chat/completions", None),
        ("models/" + "m" * 300 + ":generateContent", None),
    ],
)
def test_a_model_may_stand_in_the_path(rest: str, model: str | None) -> None:
    assert model_in(rest) == model


# --- heads -----------------------------------------------------------------------------------------------------------
ASKED: Final = {
    b"host": b"house",
    b"authorization": b"Bearer sk-ph-mine",
    b"x-api-key": b"sk-ph-mine",
    b"api-key": b"sk-ph-mine",
    b"x-goog-api-key": b"sk-ph-mine",
    b"cookie": b"a=b",
    b"x-forwarded-for": b"10.0.0.1",
    b"forwarded": b"for=10.0.0.1",
    b"x-real-ip": b"10.0.0.1",
    b"connection": b"keep-alive, te",
    b"te": b"trailers",
    b"upgrade": b"h2c",
    b"transfer-encoding": b"chunked",
    b"content-length": b"5",
    b"expect": b"100-continue",
    b"accept-encoding": b"gzip",
    b"origin": b"https://page.example",
    b"referer": b"https://page.example/x",
    b"user-agent": b"client/1",
    b"openai-organization": b"org-mine",
    b"x-posthouse-strict": b"1",
    b"content-type": b"application/jsonl",
    b"accept": b"text/csv",
    b"range": b"bytes=0-9",
    b"idempotency-key": b"k1",
    b"other-beta": b"b1",
    b"sample-version": b"2026-01-01",
    b"x-client-request-id": b"c1",
}


def lines_of(request: UpstreamRequest) -> list[bytes]:
    HeadWriter(request.origin).write(request)  # which refuses what no head may hold
    return sorted(request.headers.split(b"\r\n")[:-1])


def test_of_a_clients_head_passes_what_is_allowed_and_the_account_keeps_its_own() -> None:
    request = request_below(account(headers=(("X-Team", "blue"),)), Parcel(b"POST", "x", "", ASKED), 1.0)
    lines = lines_of(request)
    assert [line for line in lines if not line.startswith(b"user-agent: posthouse/")] == [
        b"accept: text/csv",
        b"content-type: application/jsonl",
        b"idempotency-key: k1",
        b"other-beta: b1",
        b"range: bytes=0-9",
        b"sample-version: 2026-01-01",
        b"x-api-key: made-up-credential",
        b"x-client-request-id: c1",
        b"x-row: row",
        b"x-team: blue",
    ]
    assert b"sk-ph-mine" not in request.headers


def test_what_the_operator_sets_no_client_replaces() -> None:
    own = (("Sample-Version", "operator"), ("content-type", "text/plain"))
    lines = lines_of(request_below(account(headers=own), Parcel(b"POST", "x", "", ASKED), 1.0))
    assert [line for line in lines if line.startswith((b"sample-version", b"content-type"))] == [
        b"content-type: text/plain",
        b"sample-version: operator",
    ]


def test_a_client_that_says_no_type_sends_none() -> None:
    request = request_below(account(), Parcel(b"GET", "x", "", {}), 1.0)
    assert b"content-type" not in request.headers
    assert b"sample-version: 2023-01-01" in request.headers


@pytest.mark.parametrize(("method", "length"), [(b"PUT", 0), (b"PATCH", 0), (b"GET", None), (b"DELETE", None)])
async def test_the_length_of_nothing_is_said_where_something_was_to_be_expected(
    method: bytes, length: int | None
) -> None:
    request = request_below(account(), Parcel(method, "x", "", {}), 1.0)
    assert (None if request.stream is None else request.stream.length) == length
    if request.stream is not None:
        assert [piece async for piece in request.stream.pieces] == []


def test_of_an_answers_head_nothing_is_shown_that_names_a_host_or_an_account() -> None:
    shown = head_below(
        [
            (b"content-type", b"text/plain"),
            (b"content-range", b"bytes 0-9/100"),
            (b"retry-after", b"7"),
            (b"sample-version", b"2026-01-01"),
            (b"location", b"https://internal.example.com/x"),
            (b"content-location", b"https://internal.example.com/x"),
            (b"link", b"<https://internal.example.com>"),
            (b"set-cookie", b"a=b"),
            (b"server", b"internal-7"),
            (b"via", b"1.1 internal-7"),
            (b"x-ratelimit-remaining-requests", b"1"),
            (b"sample-organization-id", b"org-mine"),
            (b"transfer-encoding", b"chunked"),
            (b"content-length", b"5"),
            (b"connection", b"close"),
            (b"etag", b"x" * 5000),
            (b"content-type", b"application/json"),
        ]
    )
    assert shown == (
        b"content-type: application/json\r\ncontent-range: bytes 0-9/100\r\nretry-after: 7\r\n"
        b"sample-version: 2026-01-01\r\n"
    )
