"""Whatever is sent to the control plane, on every route that its own document names: never a fault of ours."""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st

from posthouse.api.control.application import ROUTERS
from tests.e2e.anything import Target, anything, judge, target
from tests.e2e.house import ADMIN_KEY
from tests.e2e.odd_bodies import Json, Schemas, mutated, written

ROUTES: Final = sorted(
    (route.path, method.lower())
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
)
GOOD: Final[Json] = {
    "name": "a key",
    "account": "some",
    "models": ["echo", "m-*"],
    "budget": {"amount": "5.00", "currency": "USD", "period": "day"},
    "budgets": [
        {"amount": "5", "currency": "USD", "period": "week", "time_zone": "+08:00", "model": "echo", "kind": "limit"}
    ],
    "scopes": ["chat", "audio"],
    "unpriced": "allow",
    "own_credential": {"accounts": ["main"], "fee_percent": "2.5"},
    "limits": {"rpm": 10, "tpm": 100_000, "concurrency": 2},
    "expires_at": "2030-01-01T00:00:00Z",
    "defaults": {"temperature": 0.2},
    "aliases": {"gpt-4": "echo"},
    "strict": True,
}
# fmt: off
_WORDS: Final = st.sampled_from([
    "", " ", "0", "-1", "1", "1000", "1001", "9" * 400, "nan", "-inf", "1e400", "true", "null", "x" * 600, "%", "a/b",
    "\u0000", "\u202e", "\ufffd", "\u4f60\u597d", "..", "'", '"', "'; DROP TABLE keys", "day", "model", "USD", "usd",
    "2026-02-30", "2026-01-01", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
    "echo", "here", "default", "req_0", "key_0",
])
# fmt: on


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("house")) as made:
        made.house.admin("POST", "/accounts", {"name": "some"})
        yield made


class Map(NamedTuple):
    """The document, and ids that there are, by the names that its paths have for them; not the key that asks."""

    document: Json
    known: dict[str, str]


@pytest.fixture(scope="module")
def chart(here: Target) -> Map:
    body = {"model": "echo", "messages": [{"role": "user", "content": "a"}]}
    answer = here.line.ask("/v1/chat/completions", json.dumps(body).encode())
    known = {
        "{key_id}": here.house.admin("POST", "/keys", {"name": "one"})["id"],
        "{account}": "some",
        "{request_id}": answer.headers["x-request-id"],
        "{name}": "main-chat.completions",
    }
    return Map(here.house.admin("GET", "/openapi.json"), known)


@st.composite
def asked(draw: st.DrawFn, chart: Map, route: str, method: str) -> tuple[str, bytes]:
    """An address, and a body where the route takes one."""
    path = route
    for part, there_is in chart.known.items():
        name = there_is if draw(st.booleans()) else draw(_WORDS) or "x"
        path = path.replace(part, quote(name, safe=""))
    operation = chart.document["paths"][route][method]
    names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    query = draw(st.lists(st.tuples(st.sampled_from([*names, "future"]), _WORDS), max_size=3))
    path += "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query) if query else ""
    bodies = Schemas(chart.document).bodies(route, method)
    if bodies is None:
        return path, b""
    other = draw(st.sampled_from(["budget", "budgets"]))  # they are not said together
    good = {name: value for name, value in GOOD.items() if name in _members(operation) and name != other}
    return path, draw(mutated(good) | bodies.map(written))


def _members(operation: Json) -> dict[str, Any]:
    found: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    return found


@pytest.mark.req("ANY-001")
@pytest.mark.parametrize("place", ROUTES, ids=" ".join)
@anything
@given(data=st.data())
def test_whatever_is_asked_of_the_control_plane_is_never_a_fault_of_ours(
    here: Target, chart: Map, place: tuple[str, str], data: st.DataObject
) -> None:
    path, body = data.draw(asked(chart, *place))
    judge(path, here.line.ask(path, body, ADMIN_KEY, place[1].upper()), here.faults)


def test_the_document_names_every_route(chart: Map) -> None:
    named = {(path, method) for path, methods in chart.document["paths"].items() for method in methods}
    assert named == set(ROUTES)
