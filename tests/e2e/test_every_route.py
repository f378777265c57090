"""Nothing answers without a key but what is known to be open: of all routes that the application itself lists."""

import base64
from collections.abc import Iterator
from typing import Any, Final

import pytest
from fastapi.routing import APIRoute

from posthouse.api.control.application import ROUTERS
from posthouse.api.joining import ACCEPT
from tests.e2e.anything import ECHO
from tests.e2e.house import ADMIN_KEY, RunningHouse, running
from tests.e2e.wire import Response, request

# What needs no key: it says nothing of models, keys, or what was asked.
OPEN: Final = {"/", "/healthz", "/readyz", "/metrics"}
CONTROL: Final = "/admin/*"  # one application, whose own routes are tried below
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
_WEBSOCKET: Final = (
    "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    f"sec-websocket-key: {base64.b64encode(bytes(16)).decode()}\r\n"
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    with running(tmp_path_factory.mktemp("house"), ECHO) as made:
        yield made


def ask(house: RunningHouse, path: str, method: str, key: str | None, extra: str = "") -> Response:
    with house.wire() as wire:
        return wire.ask(path, b"" if method in ("GET", "HEAD") else b"{}", key, method, extra)


@pytest.mark.req("ANY-003")
@pytest.mark.parametrize("key", [None, "sk-ph-nobody"], ids=["no key", "a wrong key"])
def test_no_route_answers_without_a_key_but_those_that_are_known_to_be_open(
    house: RunningHouse, key: str | None
) -> None:
    paths = set(house.house.door.paths())
    assert paths >= {*OPEN, CONTROL, "/v1/chat/completions"}
    found: dict[str, Any] = {}
    for path in paths - {CONTROL, ACCEPT}:
        found[path] = {ask(house, path.replace("*", "m"), method, key).status for method in METHODS}
    # There is none where nothing is allowed, too.
    closed = {path for path, statuses in found.items() if 401 in statuses and statuses <= {401, 405}}
    assert found.keys() - closed == OPEN, found
    assert all(found[path] <= {200, 405} for path in OPEN), found
    # Whoever has an invitation has no key yet; without one the route does not exist.
    assert {ask(house, ACCEPT, method, key).status for method in METHODS} == {404, 405}


@pytest.mark.req("ANY-003")
def test_with_the_key_there_is_none_that_wants_one(house: RunningHouse) -> None:
    """So that the 401 above is for the key, and for nothing else."""
    for path in house.house.door.paths():
        for method in METHODS:
            assert ask(house, path.replace("*", "m"), method, ADMIN_KEY).status != 401, (method, path)


@pytest.mark.req("ANY-003")
def test_no_websocket_opens_without_a_key(house: RunningHouse) -> None:
    paths = set(house.house.door.paths()) - {CONTROL}
    opened = {key: {path for path in paths if _opens(house, path, key) == 101} for key in (None, "nobody", ADMIN_KEY)}
    assert opened[None] == opened["nobody"] == set()
    assert opened[ADMIN_KEY] == {path for path in paths if path.endswith(("/chat/completions", "/responses"))}


def _opens(house: RunningHouse, path: str, key: str | None) -> int:
    with house.wire() as wire:
        wire.send(request(path.replace("*", "m"), b"", key, "GET", _WEBSOCKET))
        return int(wire.until(b"\r\n").split(b" ")[1])


@pytest.mark.req("ANY-003")
def test_no_route_of_the_control_plane_answers_but_to_the_admin(house: RunningHouse) -> None:
    ordinary = house.new_key()
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 20
    paths = {(route.path, method) for route in routes for method in route.methods or ()}
    for path, method in sorted(paths | {("/admin/api/openapi.json", "GET")}):
        place = path.replace("{", "").replace("}", "")
        statuses = [ask(house, place, method, key).status for key in (None, "sk-ph-nobody", ordinary)]
        assert statuses == [401, 401, 403], (method, path)
    # Nor does it tell those without the key what there is.
    for path in ("/admin/api/nothing", "/admin/nothing", "/admin/api/docs", "/admin/api/keys/"):
        assert {ask(house, path, method, None).status for method in METHODS[:-1]} <= {401, 404, 405}, path
