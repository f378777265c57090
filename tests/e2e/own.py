"""A house whose keys may bring a credential of a provider: which accounts there are, and what was asked of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.e2e.answers import asked, completion
from tests.e2e.house import PRICE, RunningHouse, provider, running
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Response, request

OPERATORS: Final = "upstream-credential-1"
# No vendor's form, so that nothing but its value can give it away; with colons, as some have them.
OWN: Final = "brought:by.the/caller:Zq7xW"
ALL: Final = ("main", "twin", "several", "other", "messages", "contents", "headed")
USAGE: Final = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
COST: Final = 11 * 1_000 + 7 * 10_000  # what USAGE costs by PRICE
WHOLE: Final = completion(usage=USAGE)


class Place(NamedTuple):
    """`upstream` is the provider of every account but `other`, which is `elsewhere`."""

    house: RunningHouse
    upstream: Upstream
    elsewhere: Upstream

    def key(self, *accounts: str, fee: str = "0", **wish: Any) -> str:
        """A key that may bring a credential, with one before it."""
        allowed = {"accounts": list(accounts or ALL), "fee_percent": fee}
        return f"{OWN}:{self.house.new_key(own_credential=allowed, **wish)}"

    def ask(self, key: str, model: str = "m", path: str = "/v1/chat/completions", **more: Any) -> Response:
        with self.house.wire() as wire:
            return wire.ask(path, asked(model, **more), key)

    def send(self, path: str, body: dict[str, Any], extra: str, method: str = "POST") -> Response:
        """With the key wherever `extra`, complete header lines, has it."""
        with self.house.wire() as wire:
            wire.send(request(path, body, method=method, extra=extra))
            return wire.response()

    def said(self) -> list[str]:
        """By which credentials all were asked since the last `forget`."""
        return [
            visit.headers.get("authorization", "").removeprefix("Bearer ")
            or visit.headers.get("x-api-key", "")
            or visit.headers.get("x-goog-api-key", "")
            for visit in (*self.upstream.visits, *self.elsewhere.visits)
        ]

    def forget(self) -> None:
        self.upstream.forget()
        self.elsewhere.forget()


def table(name: str, kind: str, base_url: str, models: str, more: str = "") -> str:
    text = provider(base_url, models, more, name)
    return text.replace('type = "openai-compatible"', f'type = "{kind}"')


def config(upstream: Upstream, elsewhere: Upstream) -> str:
    base = upstream.base_url
    several = provider(base, '"s"', "passthrough = true", "several")
    return (
        provider(base, '"m", "n", "both"', "passthrough = true\npriority = 9", "main")
        + provider(base, '"m", "both"', "priority = 5", "twin")
        + provider(elsewhere.base_url, '"m", "o"', "priority = 7", "other")
        + provider(base, '"m", "c"', "passthrough = true", "closed")
        + several.replace(f'credential = "{OPERATORS}"', 'credentials = ["first-credential-1", "second-credential-2"]')
        + provider(base, '"h"', 'passthrough = true\nheaders = { "X-Auth-Token" = "operators-token" }', "headed")
        + table("messages", "anthropic", base.removesuffix("/v1"), '"a"', 'wires = ["messages"]')
        + table("contents", "gemini", base, '"g"', 'wires = ["generate_content"]')
        + '[[routes]]\nname = "any"\nmodels = ["both", "o", "c"]\n[routes.fallbacks]\nserver = ["m"]\n'
        + PRICE
        + PRICE.replace('"m"', '"both"')
    )


@contextmanager
def lending(folder: Path, environ: dict[str, str] | None = None) -> Iterator[Place]:
    with Upstream() as upstream, Upstream() as elsewhere:
        with running(folder, config(upstream, elsewhere), environ) as house:
            yield Place(house, upstream, elsewhere)
            house.verified()
