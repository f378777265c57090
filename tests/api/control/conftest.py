"""A house on a socket for the tests of its control plane: one provider that is scripted, one that is dead."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import httpx2
import pytest

from tests.billing.conftest import postgres_database
from tests.e2e.answers import answers, asked, completion
from tests.e2e.house import PRICE, RunningHouse, provider, running
from tests.e2e.upstream import Upstream

CONFIG: Final = """
[[providers]]
name = "dead"
type = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
credential = "upstream-credential-2"
priority = 1
models = ["shaky", "rocky"]

[[providers]]
name = "listless"
type = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
credential = "upstream-credential-3"

[[routes]]
name = "smart"
models = ["m", "shaky"]

[[prices]]
model = "m"
currency = "USD"
input = "3.00"
effective_from = 2999-01-01

[[prices]]
model = "yuan"
provider = "main"
currency = "CNY"
input = "2.00"
"""


class Scene:
    """The house, its provider, and an admin's client."""

    def __init__(self, house: RunningHouse, upstream: Upstream, client: httpx2.Client) -> None:
        self.house = house
        self.upstream = upstream
        self.client = client

    def get(self, path: str, status: int = 200, /, **query: Any) -> dict[str, Any]:
        return self._answer(self.client.get(f"/admin/api{path}", params=query or None), status)

    def send(self, method: str, path: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        return self._answer(self.client.request(method, f"/admin/api{path}", json=body), status)

    def ask(self, key: str, status: int = 200, **body: Any) -> str:
        """Asks the model route; the request's id."""
        with self.house.client(key) as client:
            answer = client.post("/v1/chat/completions", json=asked(**body))
            assert answer.status_code == status, answer.text
            request_id: str = answer.headers["x-request-id"]
            return request_id

    @staticmethod
    def _answer(answer: httpx2.Response, status: int) -> dict[str, Any]:
        assert answer.status_code == status, (answer.status_code, answer.text)
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One on each kind of database for all of this folder: tests make keys and accounts of their own."""
    with ExitStack() as opened:
        environ = {}
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            environ["POSTHOUSE_DATABASE_URL"] = opened.enter_context(postgres_database(server))
        upstream = opened.enter_context(Upstream())
        upstream.scripts["*"] = answers(completion())
        config = provider(upstream.base_url, '"m", "shaky", "rocky", "yuan", "unpriced"') + PRICE + CONFIG
        house = opened.enter_context(running(tmp_path_factory.mktemp("control"), config, environ))
        yield Scene(house, upstream, opened.enter_context(house.client()))


def error_of(body: dict[str, Any]) -> dict[str, Any]:
    """The error, which has OpenAI's four members."""
    error: dict[str, Any] = body["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    return error
