"""A caller's own credential in the place of an account's: what is built of it, and whose place it cannot take."""

from typing import Final

import pytest
from msgspec.structs import replace

from posthouse.core.requests import TEXTS, Operation
from posthouse.dialects.codec import Maker
from posthouse.providers import anthropic, azure, gemini, openai, openai_compatible, vllm
from posthouse.providers.brought import Brought, can_be_brought, lent, lent_prepared
from posthouse.providers.model import Provider
from posthouse.providers.prepare import Prepared, body_for, request_for
from posthouse.providers.registry import BUILTIN
from posthouse.settings import Secret
from tests.providers.asking import CREDENTIAL, account, asked, chat, prepared

SECRET: Final = "brought:by-the/caller"
OWN: Final = Brought(Secret(SECRET), frozenset({"main"}), "key_1")


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (openai.ROW, "authorization: Bearer"),
        (azure.ROW, "api-key:"),
        (anthropic.ROW, "x-api-key:"),
        (gemini.ROW, "x-goog-api-key:"),
        (vllm.ROW, "authorization: Bearer"),
    ],
)
def test_it_stands_where_the_row_puts_the_accounts_own(row: Provider, line: str) -> None:
    operation = row.wires[0]
    usual = prepared(row, operation)
    theirs = lent_prepared(usual, lent(usual.deployment.account, OWN), OWN)
    assert f"{line} {SECRET}\r\n".encode() in theirs.headers
    assert CREDENTIAL.encode() not in theirs.headers
    assert CREDENTIAL.encode() in usual.headers or row.auth == "none"
    assert (theirs.origin, theirs.target, theirs.stream_target) == (usual.origin, usual.target, usual.stream_target)
    request = request_for(theirs, asked(operation), 0.0)
    assert request.private
    assert not request_for(usual, asked(operation), 0.0).private


@pytest.mark.parametrize("row", BUILTIN, ids=lambda row: row.name)
def test_every_built_in_provider_can_be_asked_with_one(row: Provider) -> None:
    assert can_be_brought(account(row))


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "x-api-key",
        "X-Auth-Token",
        "ocp-apim-subscription-key",
        "cookie",
        "x-client-secret",
        "X-Amz-Signature",
    ],
)
def test_where_the_operator_has_set_a_header_to_be_known_by_it_cannot(name: str) -> None:
    assert not can_be_brought(account(openai.ROW, headers=((name, "operators"),)))


@pytest.mark.parametrize("name", ["openai-organization", "http-referer", "x-title", "x-team"])
def test_any_other_header_of_the_operators_goes_along(name: str) -> None:
    usual = prepared(openai.ROW, headers=((name, "blue"),))
    assert can_be_brought(usual.deployment.account)
    theirs = lent_prepared(usual, lent(usual.deployment.account, OWN), OWN)
    assert f"{name}: blue\r\n".encode() in theirs.headers


def test_a_way_of_being_known_that_is_no_single_secret_is_none_of_those() -> None:
    signed = replace(openai.ROW, auth="signed")  # no row is, as yet
    assert not can_be_brought(account(signed))


@pytest.mark.parametrize("operation", TEXTS)
@pytest.mark.parametrize("row", [openai.ROW, anthropic.ROW, gemini.ROW], ids=lambda row: row.name)
def test_sealed_state_is_that_of_one_key_and_not_the_accounts(row: Provider, operation: Operation) -> None:
    usual = prepared(row, operation)
    theirs = lent_prepared(usual, lent(usual.deployment.account, OWN), OWN)
    other = Brought(Secret(SECRET), OWN.accounts, "key_2")
    others = lent_prepared(usual, lent(usual.deployment.account, other), other)
    assert _makers(usual) or row.wires[0] == operation == "chat.completions"  # there nothing is sealed
    for one, two, three in zip(_makers(usual), _makers(theirs), _makers(others), strict=True):
        assert len({one, two, three}) == 3
        assert {(maker.provider, maker.model) for maker in (one, two, three)} == {(row.name, "vendor/model-1")}


def _makers(ready: Prepared) -> list[Maker]:
    detour = [] if ready.detour is None else _makers(ready.detour[1])
    return [
        *([] if ready.way is None else [ready.way.maker]),
        *([] if ready.own is None else [ready.own[1]]),
        *detour,
    ]


def test_nothing_prints_it() -> None:
    usual = prepared(openai_compatible.ROW)
    theirs = lent_prepared(usual, lent(usual.deployment.account, OWN), OWN)
    shown = repr([OWN, theirs, theirs.deployment, theirs.deployment.account, request_for(theirs, chat(), 0.0)])
    assert SECRET not in shown
    assert body_for(theirs, chat()) == body_for(usual, chat())
