"""The one door of the control plane: who asks, what the table of roles lets them do, and to which accounts.

`admitted` stands before every route; `Sieve` behind, where a role may not read all of an answer.
"""

import asyncio
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from posthouse.api.control.parameters import services_of
from posthouse.api.control.roles import CONFINED, Tree, check_writes, reach_of, sifted
from posthouse.api.server import credential_of
from posthouse.api.services import Services
from posthouse.core.caller import Caller
from posthouse.core.errors import Forbidden

_JSON: Final = b"application/json"
_READS: Final = "reads"


async def admitted(request: Request) -> None:
    """401 without a known key; 403 for a key without a role, a role that the route is not for, and a field that the
    role may not write; 404 for an account or key that a member may not know of."""
    services = services_of(request)
    headers = {name.lower(): value for name, value in request.headers.raw}
    caller = services.directory.authenticate(credential_of(headers))
    request.state.caller = caller
    request.state.within = None
    if caller.admin:
        return
    if caller.role is None:
        raise Forbidden("This needs the admin key, or a key with a role.", code="admin_key_required")
    reach = reach_of(request.method, request.scope["route"].path, caller.role)
    request.scope["state"][_READS] = reach.reads
    if reach.known:
        check_writes(_body_of(await request.body()), reach)
    if caller.role in CONFINED:
        request.state.within = caller.account_id
        await asyncio.to_thread(_confine, services, request, caller)


def _confine(services: Services, request: Request, caller: Caller) -> None:
    """Every id in the address is of the caller's own account or of one below it, or it does not exist."""
    within, path, query = caller.account_id, request.path_params, request.query_params
    for reference in (path.get("account"), query.get("account"), query.get("under")):
        if reference is not None:
            services.directory.get_account(reference, within)
    for key_id in (path.get("key_id"), query.get("key")):
        if key_id is not None:
            services.directory.get_key(key_id, within)


def _body_of(body: bytes) -> Any:
    """None for what is no JSON: the route says so."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def within_of(request: Request) -> str | None:
    within: str | None = request.state.within
    return within


Asking = Annotated[Caller, Depends(caller_of)]
Within = Annotated[str | None, Depends(within_of)]


class Sieve:
    """Leaves out of JSON answers what the role of the caller may not read. Of an answer in another form, from which
    nothing can be left out, nothing is told."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        start: Message = {}
        whole = bytearray()

        async def sift(message: Message) -> None:
            nonlocal start
            reads: Tree | None = scope["state"].get(_READS)
            if message["type"] == "http.response.start":
                start = message
                if reads is None or start["status"] >= 400:
                    await send(message)
                return
            if reads is None or start["status"] >= 400:
                await send(message)
                return
            whole.extend(message.get("body", b""))
            if not message.get("more_body", False):
                await _send_sifted(start, bytes(whole), reads, send)

        await self._app(scope, receive, sift)


async def _send_sifted(start: Message, body: bytes, reads: Tree, send: Send) -> None:
    kinds = [value for name, value in start["headers"] if name == b"content-type"]
    if body and not (kinds and kinds[0].startswith(_JSON)):
        body = b""  # no answer of the table is another than JSON but where everything may be read
    elif body:
        body = msgspec.json.encode(sifted(msgspec.json.decode(body), reads))
    headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
    await send({**start, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def is_member(caller: Caller) -> bool:
    """Whether it is confined to its account and what is below it."""
    return not caller.admin and caller.role in CONFINED
