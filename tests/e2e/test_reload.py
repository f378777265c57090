"""New settings while the house serves: what holds at once, what goes on as it began, what changes nothing."""

import concurrent.futures
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from posthouse.cli import app
from tests.e2e.answers import answers, asked, chunk, completion, fault, held
from tests.e2e.house import ADMIN_KEY, Place, provider, running
from tests.e2e.process import process, verified
from tests.e2e.upstream import Upstream, Visit
from tests.e2e.wire import Response, eventually, payloads, request

PRICE = """
[[prices]]
model = "m"
currency = "USD"
input = "{}"
"""


class Changing:
    """A house whose file is written anew."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.house, self.upstream = place
        self.path = folder / "posthouse.toml"
        self._tests = 0

    def begin(self) -> None:
        """A test begins: with an account whose credential no other has, so that nothing is known of it."""
        self._tests += 1
        self.upstream.scripts = {"*": answers(completion())}
        self.write(self.config("m"))
        self.reload()
        self.upstream.forget()

    def config(self, *models: str, price: str = "1.00", more: str = "", table: str = "") -> str:
        listed = ", ".join(f'"{model}"' for model in models)
        account = provider(self.upstream.base_url, listed, more)
        return table + account.replace("credential-1", f"credential-of-test-{self._tests}") + PRICE.format(price)

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def reload(self, status: int = 200) -> dict[str, Any]:
        with self.house.client() as client:
            answer = client.post("/admin/api/config/reload")
            assert answer.status_code == status, answer.text
            body: dict[str, Any] = answer.json()
            return body

    def ask(self, model: str = "m") -> Response:
        with self.house.wire() as wire:
            return wire.ask("/v1/chat/completions", asked(model), ADMIN_KEY)

    def cost(self, answer: Response) -> int:
        return int(self.house.stored(answer.headers["x-request-id"]).record["cost"])

    def models(self) -> list[str]:
        with self.house.client() as client:
            return sorted(row["id"] for row in client.get("/v1/models").json()["data"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changing]:
    folder = tmp_path_factory.mktemp("house")
    with Upstream() as upstream:
        with running(folder, provider(upstream.base_url, '"m"') + PRICE.format("1.00")) as house:
            yield Changing(Place(house, upstream), folder)
            house.verified()


@pytest.fixture
def here(place: Changing) -> Changing:
    place.begin()
    return place


@pytest.mark.req("ROUTE-013")
def test_models_routes_and_prices_hold_at_once(here: Changing) -> None:
    assert here.cost(here.ask()) == 18_000
    here.write(here.config("m", "n", price="2.00", table='[[routes]]\nname = "r"\nmodels = ["n"]\n'))
    assert here.reload() == {"changed": ["providers", "routes", "prices"], "needs_restart": [], "problems": []}
    assert here.models() == ["m", "n", "r"]
    assert here.ask("r").headers["x-posthouse-deployment"] == "main/n"
    assert here.cost(here.ask()) == 36_000
    here.write(here.config("n"))
    here.reload()
    assert here.ask("m").error["code"] == "model_not_found"
    assert here.ask("r").status == 404


def test_a_reload_of_the_same_settings_changes_nothing_and_keeps_the_connections(here: Changing) -> None:
    here.ask()
    accepted = here.upstream.accepted
    assert here.reload() == {"changed": [], "needs_restart": [], "problems": []}
    here.ask()
    assert here.upstream.accepted == accepted


@pytest.mark.req("ROUTE-013")
def test_a_stream_under_way_ends_as_it_began_and_at_the_price_that_it_was_taken_in_with(here: Changing) -> None:
    gate = here.upstream.gate()
    here.upstream.scripts["m"] = held(
        gate, [chunk({"content": "Once"})], chunk({"content": " more"}, "stop"), chunk(None, usage=USAGE), "[DONE]"
    )
    with here.house.wire() as wire:
        wire.send(request("/v1/chat/completions", asked(stream=True), ADMIN_KEY))
        _, headers = wire.head()
        events = wire.events()
        assert b"Once" in next(events)
        here.write(here.config("n", price="9.00", more="priority = 3"))
        here.reload()
        assert here.ask("m").status == 404
        gate.open()
        rest = payloads(b"".join(events))
    assert rest[-1] == "[DONE]"
    record = here.house.stored(headers["x-request-id"]).record
    assert (record["status"], record["cost"], record["deployment"]) == (200, 18_000, "main/m")
    # Its connection belongs to a deployment that is gone.
    assert here.upstream.visit(0).left.wait(20)


USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def test_a_request_that_fails_over_during_a_reload_goes_on_by_the_old_plan(here: Changing) -> None:
    both = provider(here.upstream.base_url, '{ name = "m", upstream = "spare" }', name="spare")
    here.write(here.config("m", more="priority = 1") + both)
    here.reload()
    gate = here.upstream.gate()

    async def script(visit: Visit) -> None:
        await gate.passed(visit)
        await visit.whole(fault("Broken."), 500)

    here.upstream.scripts["m"] = script
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(here.ask)
        assert gate.reached.wait(20)
        here.write(here.config("n"))
        here.reload()
        gate.open()
        assert asking.result(20).headers["x-posthouse-deployment"] == "spare/m"


BROKEN = {
    "no TOML": ("[[providers]\n", "posthouse.toml: is not TOML"),
    "unknown key": ("[server]\nprot = 1\n", "posthouse.toml:2: server.prot: unknown key"),
    "unknown type": (
        '[[providers]]\nname = "a"\ntype = "nobody"\n',
        "posthouse.toml:3: providers[0].type: there is no",
    ),
    "no credential": ('[[providers]]\nname = "a"\ntype = "openai"\n', "posthouse.toml:1: providers[0].credential: 'a'"),
    "no address": (
        '\n[[providers]]\nname = "a"\ntype = "openai-compatible"\ncredential = "x"\n',
        "posthouse.toml:2: providers[0].base_url: 'a': the type 'openai-compatible' needs a base_url",
    ),
    "unset variable": (
        '[[providers]]\nname = "a"\ntype = "openai"\ncredential = "env:ABSENT"\n',
        "posthouse.toml:4: providers[0].credential: the environment variable ABSENT is not set",
    ),
    "no price": ('[[prices]]\nmodel = "m"\ncurrency = "USD"\n', "posthouse.toml:1: prices[0]: `input` is missing"),
}


@pytest.mark.req("ROUTE-014")
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_changes_nothing_and_says_where(here: Changing, what: str) -> None:
    text, said = BROKEN[what]
    here.write(text)
    error = here.reload(400)["error"]
    assert error["code"] == "invalid_configuration"
    assert error["message"].startswith("Nothing was changed:\n")
    assert said in error["message"]
    assert here.models() == ["m"]
    assert here.cost(here.ask()) == 18_000
    assert here.house.admin("GET", "/config?key=providers.main.name")["data"][0]["value"] == "main"


@pytest.mark.req("ROUTE-015")
def test_what_is_made_at_the_start_is_said_to_need_a_restart_until_it_is_put_back(here: Changing) -> None:
    usual = here.config("m")
    here.write(f"[server]\nbody_limit = 2048\n[upstream]\nmax_connections = 7\nidle_timeout = 50\n{usual}")
    done = here.reload()
    assert done["needs_restart"] == ["server.body_limit", "upstream.max_connections"]
    assert done["changed"] == ["providers", "upstream.idle_timeout"]
    assert here.reload()["needs_restart"] == ["server.body_limit", "upstream.max_connections"]
    (row,) = here.house.admin("GET", "/config?key=server.body_limit")["data"]
    assert (row["value"], row["needs_restart"]) == ("2048", True)
    here.write(usual)
    assert here.reload()["needs_restart"] == []


def test_the_options_of_routing_hold_at_once(here: Changing) -> None:
    here.upstream.scripts["m"] = answers(fault("Broken."), 500)
    here.write(here.config("m", table="[routing]\nmax_attempts = 2\n"))
    assert here.reload()["changed"] == ["routing.max_attempts"]
    here.ask()
    assert len(here.upstream.visits) == 2


def test_the_health_of_an_account_is_kept_unless_its_settings_changed(here: Changing) -> None:
    def troubled() -> bool:
        rows = here.house.admin("GET", "/models")["data"]
        return any(one["troubles"] for row in rows for one in row["candidates"])

    here.upstream.scripts["m"] = answers(fault("Not paid.", code="insufficient_quota"), 429)
    here.ask()
    here.write(here.config("m", price="3.00"))
    here.reload()
    assert troubled()
    here.write(here.config("m").replace("credential-of", "another-credential-of"))
    here.reload()
    assert not troubled()


def test_a_new_account_without_models_is_asked_for_its_list(here: Changing) -> None:
    listing = {"object": "list", "data": [{"id": "listed"}]}
    here.upstream.scripts["/v1/models"] = answers(listing)
    unlisted = provider(here.upstream.base_url, name="other").replace('models = ["m"]', "")
    here.write(here.config("m") + unlisted)
    here.reload()
    assert here.ask("listed").headers["x-posthouse-deployment"] == "other/listed"


def test_reloads_under_load_drop_nothing(here: Changing) -> None:
    def client() -> set[int]:
        with here.house.wire() as wire:
            return {wire.ask("/v1/chat/completions", asked("m"), ADMIN_KEY).status for _ in range(60)}

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client) for _ in range(4)]
        for number in range(12):
            here.write(here.config("m", f"n{number}", price=f"{number + 1}.00", more=f"weight = {number + 1}"))
            here.reload()
        assert {status for asking in clients for status in asking.result(60)} == {200}


# From outside of the process


def test_sighup_reloads_and_a_broken_file_is_told_in_the_log(tmp_path: Path) -> None:
    with Upstream() as upstream:
        upstream.scripts["*"] = answers(completion())
        with process(tmp_path, provider(upstream.base_url, '"m"')) as house:
            port = house.port

            def models() -> bytes:
                with house.wire() as wire:
                    return wire.ask("/v1/models", key=ADMIN_KEY, method="GET").body

            assert b'"n"' not in models()
            (tmp_path / "posthouse.toml").write_text(provider(upstream.base_url, '"m", "n"'))
            house.signal(signal.SIGHUP)
            eventually(lambda: b'"n"' in models(), "the new model does not come")
            (tmp_path / "posthouse.toml").write_text("[server\n")
            house.signal(signal.SIGHUP)
            eventually(lambda: "is not TOML" in house.logged, "the log says nothing")
            assert b'"n"' in models()
            assert port == house.port
            house.terminate()
            assert house.ended() == 0
        assert verified(tmp_path).ok


def command(here: Changing, *words: str, key: str = ADMIN_KEY, code: int = 0) -> str:
    environ = {"POSTHOUSE_ADMIN_KEY": key}
    where = ["--config", str(here.path), "--data", str(here.path.parent / "data")]
    result = CliRunner().invoke(app, ["config", "reload", *words, *where], env=environ)
    assert result.exit_code == code, result.output
    return result.stdout + result.stderr


def test_the_command_asks_the_running_server(here: Changing) -> None:
    url = here.house.base_url
    here.write(here.config("m", "n", table="[server]\nheartbeat = 3\n"))
    said = command(here, "--url", url)
    assert "Other than before: providers." in said
    assert "Needs a restart to hold: server.heartbeat." in said
    assert here.models() == ["m", "n"]
    assert '"changed":[]' in command(here, "--url", url, "--json")


def test_the_command_says_why_it_cannot(here: Changing) -> None:
    url = here.house.base_url
    assert "another admin key" in command(here, "--url", url, key="x" * 40, code=1)
    assert "no server answers" in command(here, "--url", "http://127.0.0.1:9", code=1)
    assert "expected http://HOST:PORT" in command(here, "--url", "ftp://here", code=2)
    assert "no posthouse" in command(here, "--url", here.upstream.base_url.removesuffix("/v1"), code=1)
    here.write('[[routes]]\nname = "r"\nmodels = ["r"]\n')
    assert "r is a route" in command(here, "--url", url, code=1)
    here.write(here.config("m", table="[server]\nport = 0\n"))
    assert "any free port" in command(here, code=2)


def test_the_command_needs_the_admin_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTHOUSE_ADMIN_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["config", "reload"])
    assert result.exit_code == 1
    assert "POSTHOUSE_ADMIN_KEY" in result.stderr
