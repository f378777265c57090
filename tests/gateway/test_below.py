"""By which credential a request passes, and when it is sent again: over scripted accounts, in jumping time."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from posthouse.core.caller import Caller
from posthouse.core.errors import FailureKind, UpstreamFailure
from posthouse.core.requests import ModelRequest, Operation
from posthouse.gateway.below import Sender
from posthouse.gateway.model import Call
from posthouse.gateway.passage import Ledgers, Passage
from posthouse.providers import openai_compatible
from posthouse.providers.model import Deployment, ProviderAccount
from posthouse.providers.passing import Parcel
from posthouse.routing.catalog import Catalog
from posthouse.routing.model import Candidate, ModelName, Offer, RoutingOptions
from posthouse.routing.service import Router
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal
from posthouse.telemetry import Telemetry
from posthouse.upstream.memory import MemoryResponse, ScriptedTransport
from posthouse.upstream.model import BodyStream, UpstreamRequest, UpstreamResponse
from tests.routing.rig import now, run

CALLER: Final = Caller("key_1", "test", "acc_1", ())
LIMITED: Final = {"retry-after": "30"}


class Account:
    """An account `main` with so many credentials, whose model is `m`. `says` is what the next requests are told, by
    status and headers, or the failure that they are; 200 where nothing is left."""

    def __init__(self, journal: Journal, credentials: int = 2, **options: Any) -> None:
        self.used: list[int] = []
        self.says: list[tuple[int, dict[str, str]] | UpstreamFailure] = []
        self._journal = journal
        accounts = [
            ProviderAccount(
                name="main",
                row=openai_compatible.ROW,
                base_url="https://llm.example.com/v1",
                credential=f"made-up-{number}",
                passthrough=True,
            )
            for number in range(1, credentials + 1)
        ]
        transport = ScriptedTransport(self._answer)
        self.offer = Offer(accounts[0], (ModelName("m", "m"),), transport, others=tuple(accounts[1:]))
        telemetry = Telemetry()
        self.router = Router(Catalog([self.offer], [], 0), RoutingOptions(**options), telemetry)
        self.sender = Sender(self.router, telemetry)

    async def _answer(self, request: UpstreamRequest) -> UpstreamResponse:
        self.used.append(int(request.headers.partition(b"made-up-")[2].split(b"\r\n")[0]))
        said = self.says.pop(0) if self.says else (200, {})
        if isinstance(said, UpstreamFailure):
            raise said
        headers = [(name.encode(), value.encode()) for name, value in said[1].items()]
        return MemoryResponse(said[0], headers, [b"{}"])

    async def ask(self, endpoint: Operation | None = None, body: BodyStream | None = None) -> Passage:
        request = ModelRequest("passthrough", "", "m", {}, 0)
        passage = Passage(Call(CALLER, request, "req_1", now()), Ledgers(self._journal, Telemetry()))
        deployment = Deployment(id="main", account=self.offer.account, model="m", upstream_model="m")
        passage.trace.candidate = Candidate(deployment, self.offer.transport, {}, (0, 0), 1.0, b"")
        response = await self.sender.send(passage, Parcel(b"POST", "files", "", {}, body), endpoint)
        if response.status >= 400:
            self.sender.refused(passage, response, await response.read(100))
        return passage

    def fail(self, kind: FailureKind, operation: Operation, credential: int, retry_after: float | None = None) -> None:
        (one,) = [one for one in self.router.catalog.candidates("main/m") if one.credential == credential]
        failure = UpstreamFailure(kind, "no", retry_after=retry_after)
        self.router.health.failed(one, operation, failure, now(), now())


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Not started: nothing is written here."""
    return Journal(tmp_path / "journal", Database(f"sqlite:///{tmp_path}/unused.db"))


def unsent(kind: FailureKind = "connect") -> UpstreamFailure:
    failure = UpstreamFailure(kind, "no way")
    failure.unsent = True
    return failure


def test_always_the_first_credential_is_used(journal: Journal) -> None:
    async def work() -> None:
        account = Account(journal, 3)
        for _ in range(3):
            await account.ask()
        assert account.used == [1, 1, 1]
        assert account.router.health.report(now()) == {}

    run(work())


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ((429, LIMITED), 30.0),
        ((429, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}), 20.0),
        ((401, {}), 60.0),
        ((402, {}), 60.0),
    ],
)
def test_one_that_is_limited_or_refused_is_left_alone_until_its_time(
    journal: Journal, said: tuple[int, dict[str, str]], seconds: float
) -> None:
    async def work() -> None:
        account = Account(journal, 3)
        account.says = [said]
        for _ in range(3):
            await account.ask()
        assert account.used == [1, 2, 2]
        assert account.router.circuits(now()) == [("main", "passthrough", False)]
        await asyncio.sleep(seconds)
        account.used.clear()
        await account.ask()
        await account.ask()
        assert account.used == [1, 1]
        assert account.router.health.report(now()) == {}

    run(work())


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422, 500, 503, 529])
def test_what_may_be_the_clients_fault_or_the_providers_says_nothing_of_the_credential(
    journal: Journal, status: int
) -> None:
    async def work() -> None:
        account = Account(journal)
        account.says = [(status, {})] * 5
        for _ in range(6):
            await account.ask()
        assert account.used == [1] * 6

    run(work())


def test_where_all_are_limited_the_one_is_asked_whose_time_comes_first(journal: Journal) -> None:
    async def work() -> None:
        account = Account(journal, 3)
        account.says = [(429, {"retry-after": after}) for after in ("30", "10", "20")]
        for _ in range(4):
            await account.ask()
        assert account.used == [1, 2, 3, 2]
        assert account.router.circuits(now()) == [("main", "passthrough", True)]

    run(work())


def test_a_limit_of_the_model_holds_at_its_endpoint_and_nowhere_else(journal: Journal) -> None:
    async def work() -> None:
        account = Account(journal)
        account.fail("rate", "chat.completions", 1, 30.0)
        await account.ask("chat.completions")
        await account.ask("embeddings")
        await account.ask()
        assert account.used == [2, 1, 1]
        # What passes tells nothing to the attempts of others.
        account.says = [(429, LIMITED)]
        await account.ask("embeddings")
        (first, _) = account.router.catalog.candidates("main/m")
        assert not account.router.health.cooling(first, "embeddings", now())

    run(work())


def test_one_of_one_credential_is_always_asked(journal: Journal) -> None:
    async def work() -> None:
        account = Account(journal, 1)
        account.says = [(429, LIMITED), (401, {})]
        for _ in range(3):
            await account.ask()
        assert account.used == [1, 1, 1]
        assert account.router.health.all_well

    run(work())


async def _pieces(pieces: Sequence[bytes]) -> Any:
    for piece in pieces:
        yield piece


def test_a_connection_that_could_not_be_made_is_tried_again_with_the_same_credential(journal: Journal) -> None:
    async def work() -> None:
        account = Account(journal)
        account.says = [unsent(), unsent()]
        began = now()
        passage = await account.ask(body=BodyStream(_pieces([b"x"]), 1))
        assert account.used == [1, 1, 1]
        assert (passage.trace.attempts, [one.kind for one in passage.trace.failed]) == (3, ["connect", "connect"])
        backoff = account.router.options.backoff
        assert backoff * 1.5 <= now() - began <= backoff * 3

    run(work())


@pytest.mark.parametrize("options", [{}, {"max_attempts": 2}, {"deadline": 0.1}])
def test_tries_are_bounded_by_number_and_deadline(journal: Journal, options: dict[str, Any]) -> None:
    async def work() -> None:
        account = Account(journal, 1, **options)
        account.says = [unsent() for _ in range(9)]
        with pytest.raises(UpstreamFailure):
            await account.ask()
        assert len(account.used) == (2 if "max_attempts" in options else 1 if "deadline" in options else 4)

    run(work())


@pytest.mark.parametrize(
    "failure", [UpstreamFailure("connect", "it broke"), UpstreamFailure("server", "odd"), unsent("timeout")]
)
def test_whatever_may_have_been_heard_is_not_said_again(journal: Journal, failure: UpstreamFailure) -> None:
    async def work() -> None:
        account = Account(journal)
        account.says = [failure]
        with pytest.raises(UpstreamFailure):
            await account.ask()
        assert account.used == [1]

    run(work())


def test_a_request_goes_on_where_its_account_is_closed_meanwhile(journal: Journal) -> None:
    async def work() -> None:
        account = Account(journal)
        account.says = [unsent()]
        asking = asyncio.create_task(account.ask())
        await asyncio.sleep(0)
        account.router.catalog.replace([], [])
        assert (await asking).trace.attempts == 2

    run(work())
