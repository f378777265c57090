"""Asks one provider whether it would serve: its address, its credential, its latency. Costs nothing.

Above: the control plane and the command line. A provider that keeps a list of models is asked for it; another gets a
request without content, which it must refuse as such, and which nobody bills.
"""

import asyncio
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from posthouse.core.errors import FailureKind, NotFound, PosthouseError, UpstreamFailure
from posthouse.providers.failures import failure_of
from posthouse.providers.prepare import address, header_block, wires_of
from posthouse.routing.catalog import models_at
from posthouse.routing.model import Offer
from posthouse.upstream.model import UpstreamRequest

_SECONDS: Final = 10.0
_LIMIT: Final = 1 << 20
REMEDIES: Final[dict[FailureKind | None, str]] = {
    None: "Check this provider's settings: posthouse config explain providers",
    "auth": "Check its credential: it is refused.",
    "quota": "Its account has no money left: top it up with the provider.",
    "rate": "Its rate limit is used up just now: wait, or ask the provider for more.",
    "not_found": "Check its base_url: the host answers, but not with this API. Most end with /v1.",
    "connect": "Check its base_url, its proxy, and whether this machine reaches it.",
    "timeout": "It is slow or not reachable: check the network, its proxy and its timeouts.",
    "overloaded": "It says that it is overloaded: try again later.",
    "server": "It answers, but not as this API does: check base_url and proxy, or look at the provider's status page.",
}
_UNLISTED: Final = "Its list of models cannot be read; those that the configuration names may answer: ask one of them."


class ProviderCheck(Struct, frozen=True):
    """`models` is the length of its list, None where it keeps none. `problem` and `remedy` are None where `ok`."""

    ok: bool
    latency_ms: int
    models: int | None = None
    kind: FailureKind | None = None
    problem: str | None = None
    remedy: str | None = None


async def check_provider(offer: Offer) -> ProviderCheck:
    """Never raises for what a provider or its settings do; at most 10 s. With several credentials all are checked: the
    first that is not taken is told of."""
    if not offer.others:
        return await _check(offer)
    checks = await asyncio.gather(*(_check(one) for one in offer.each()))
    for number, check in enumerate(checks, 1):
        if not check.ok:
            return replace(check, problem=f"credential {number} of {len(checks)}: {check.problem}")
    return checks[0]


async def _check(offer: Offer) -> ProviderCheck:
    loop = asyncio.get_running_loop()
    began = loop.time()
    models: int | None = None
    lists = offer.account.row.path_of("models") is not None or offer.account.row.locate is not None
    try:
        if not lists:
            await _knock(offer)
        else:
            try:
                models = len(await models_at(offer))
            except NotFound:
                await _knock(offer)
            except UpstreamFailure as failure:
                if failure.kind != "not_found" or offer.models is None:
                    raise
                await _knock(offer)  # its models are named, so that it serves without a list
    except PosthouseError as error:
        kind = error.kind if isinstance(error, UpstreamFailure) else None
        remedy = REMEDIES.get(kind, REMEDIES[None])
        if kind == "server" and lists and offer.models is not None:
            remedy = f"{_UNLISTED} Otherwise: {remedy[0].lower()}{remedy[1:]}"
        return ProviderCheck(
            ok=False,
            latency_ms=round((loop.time() - began) * 1000),
            kind=kind,
            problem=error.message,
            remedy=remedy,
        )
    return ProviderCheck(ok=True, latency_ms=round((loop.time() - began) * 1000), models=models)


async def _knock(offer: Offer) -> None:
    """A request with an empty body: whoever refuses it as a bad request has taken the credential."""
    account = offer.account
    model = offer.models[0].upstream if offer.models else ""
    wires = wires_of(account)
    origin, target = address(account, wires[0] if wires else "chat.completions", model)
    request = UpstreamRequest(
        pool=account.name,
        origin=origin,
        method=b"POST",
        target=target,
        headers=header_block(account),
        body=b"{}",
        timeouts=account.timeouts,
        proxy=account.proxy,
        deadline=asyncio.get_running_loop().time() + _SECONDS,
    )
    response = await offer.transport.send(request)
    try:
        body = await response.read(_LIMIT)
    finally:
        response.close()
    if response.status in (200, 400, 422):
        return
    raise failure_of(account.row, response.status, response.headers, body, account.credential)
