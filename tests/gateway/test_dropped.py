"""What cannot be said to a provider: told in a header, or refused to who is strict."""

import pytest

from posthouse.core.errors import InvalidRequest
from posthouse.gateway.dropped import dropped_line, strictly
from posthouse.providers import anthropic, openai_compatible
from posthouse.providers.prepare import Prepared
from posthouse.routing.model import Candidate
from posthouse.upstream.memory import ScriptedTransport
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse
from tests.providers.asking import chat, prepared


@pytest.mark.req("XLATE-007")
def test_the_header_is_bounded_and_holds_no_more_than_a_header_may() -> None:
    assert dropped_line(("seed", "tools.custom")) == b"x-posthouse-dropped: seed,tools.custom\r\n"
    hostile = dropped_line(("a\r\nx-evil: 1", "käse,b", "x" * 500))
    assert hostile.count(b"\r\n") == 1
    assert b"x-evil: 1" not in hostile
    assert hostile.isascii() and hostile.count(b",") == 2
    assert len(dropped_line(tuple(f"member-{number}" for number in range(1000)))) < 1000


def candidate(ready: Prepared) -> Candidate:
    async def refuse(request: UpstreamRequest) -> UpstreamResponse:
        raise AssertionError("nobody is to be asked")

    return Candidate(ready.deployment, ScriptedTransport(refuse), {"chat.completions": ready}, (0, 0), 1.0, b"")


@pytest.mark.req("XLATE-008")
def test_a_strict_request_is_kept_from_providers_that_cannot_be_told_all_of_it() -> None:
    lossy, whole = (candidate(prepared(row)) for row in (anthropic.ROW, openai_compatible.ROW))
    assert strictly([lossy, whole], chat(seed=7)) == [whole]
    assert strictly([lossy, whole], chat()) == [lossy, whole]
    with pytest.raises(InvalidRequest, match="seed") as caught:
        strictly([lossy], chat(seed=7))
    assert (caught.value.param, caught.value.code) == ("seed", "unsupported_parameter")
