"""What steers a vector: told to a provider that knows it, left out and named for any other."""

from typing import Final

import pytest

from posthouse.core.requests import ModelRequest
from posthouse.providers import gemini, openai, openai_compatible
from posthouse.providers.call import call
from posthouse.providers.carriage import dropped_by
from posthouse.providers.model import Provider
from tests.providers.asking import embeddings, prepared
from tests.providers.vendor import Vendor

FAR: Final = 1e12


def _steered() -> ModelRequest:
    request = embeddings(taskType="RETRIEVAL_QUERY")
    request.steering = ("taskType",)
    return request


async def test_a_provider_with_a_form_of_its_own_is_told_what_a_text_is_embedded_for() -> None:
    vendor, way = Vendor(gemini.ROW), prepared(gemini.ROW, "embeddings")
    reply = await call(way, _steered(), vendor, FAR)
    assert vendor.body["requests"][0]["taskType"] == "RETRIEVAL_QUERY"
    assert tuple(reply.dropped) == dropped_by(way, _steered()) == ()


@pytest.mark.parametrize("row", [openai.ROW, openai_compatible.ROW], ids=lambda row: row.name)
async def test_any_other_is_not_and_the_client_hears_of_it(row: Provider) -> None:
    vendor, way = Vendor(row), prepared(row, "embeddings")
    reply = await call(way, _steered(), vendor, FAR)
    assert vendor.body.keys() == {"model", "input"}
    assert tuple(reply.dropped) == dropped_by(way, _steered()) == ("taskType",)


async def test_a_member_that_a_client_of_the_other_form_wrote_itself_passes() -> None:
    vendor = Vendor(openai.ROW)
    reply = await call(prepared(openai.ROW, "embeddings"), embeddings(taskType="X"), vendor, FAR)
    assert vendor.body["taskType"] == "X"
    assert not reply.dropped
