"""What is said about a provider that is asked whether it would serve."""

from posthouse.providers import openai_compatible
from posthouse.providers.model import ProviderAccount
from posthouse.routing.check import check_provider
from posthouse.routing.model import ModelName, Offer
from posthouse.upstream.memory import MemoryResponse, ScriptedTransport
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse

NAMED = (ModelName("m", "vendor/m"),)


class Server:
    """Answers its list of models and its chat with the statuses given; `asked` holds the paths."""

    def __init__(self, listing: int, chat: int = 400) -> None:
        self.asked: list[str] = []
        self._statuses = {"/v1/models": listing, "/v1/chat/completions": chat}

    async def answer(self, request: UpstreamRequest) -> UpstreamResponse:
        path = request.target.decode()
        self.asked.append(path)
        return MemoryResponse(self._statuses[path], [], [b'{"object":"list","data":[{"id":"vendor/m"}]}'])

    def offer(self, models: tuple[ModelName, ...] | None) -> Offer:
        account = ProviderAccount(name="main", row=openai_compatible.ROW, base_url="https://llm.example.com/v1")
        return Offer(account, models, ScriptedTransport(self.answer))


async def test_a_list_of_models_is_enough() -> None:
    server = Server(200)
    check = await check_provider(server.offer(None))
    assert (check.ok, check.models, server.asked) == (True, 1, ["/v1/models"])


async def test_a_server_without_a_list_serves_the_models_that_are_named() -> None:
    server = Server(404)
    check = await check_provider(server.offer(NAMED))
    assert (check.ok, check.models, server.asked) == (True, None, ["/v1/models", "/v1/chat/completions"])


async def test_a_server_without_a_list_is_of_no_use_where_no_model_is_named() -> None:
    check = await check_provider(Server(404).offer(None))
    assert (check.ok, check.kind) == (False, "not_found")


async def test_a_server_that_knows_neither_path_is_at_another_address() -> None:
    check = await check_provider(Server(404, 404).offer(NAMED))
    assert (check.ok, check.kind) == (False, "not_found")
    assert "base_url" in (check.remedy or "")


async def test_a_list_that_fails_does_not_condemn_the_models_that_are_named() -> None:
    named, unnamed = await check_provider(Server(500).offer(NAMED)), await check_provider(Server(500).offer(None))
    assert (named.ok, named.kind, unnamed.kind) == (False, "server", "server")
    assert "may answer" in (named.remedy or "")
    assert "may answer" not in (unnamed.remedy or "")
