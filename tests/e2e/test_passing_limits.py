"""Limits at a provider's own interface: tokens are charged ahead by how long the answers of a model are known to be."""

from pathlib import Path

import pytest

from posthouse.gateway.outputs import ENOUGH
from tests.e2e.answers import answers, asked, completion
from tests.e2e.house import place
from tests.e2e.wire import Response


@pytest.mark.req("PASS-010")
def test_tokens_are_charged_ahead_by_what_answers_have_been(tmp_path: Path) -> None:
    with place(tmp_path, more="passthrough = true\n") as here, here.house.wire() as wire:
        here.upstream.scripts["m"] = answers(completion())
        key = here.house.new_key(limits={"tpm": 10_000})

        def ahead() -> int:
            answer: Response = wire.ask("/providers/main/chat/completions", asked(max_tokens=5_000), key)
            assert answer.status == 200
            return 10_000 - int(answer.headers["x-ratelimit-remaining-tokens"])

        assert ahead() > 5_000
        plain = here.house.new_key()
        for _ in range(ENOUGH):
            assert wire.ask("/v1/chat/completions", asked(), plain).status == 200
        assert ahead() < 500
