"""completions, the API of models that go on writing.

A request may have several prompts. A provider of this dialect takes them at once; for any other each prompt is a call
of its own, admitted, billed and recorded as such (the second is recorded as `ID.2`), and the client gets one answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from posthouse.api.asking import EVENT_STREAM, Asker
from posthouse.api.exchange import Exchange
from posthouse.api.server import JSON
from posthouse.core.errors import PosthouseError, UpstreamFailure
from posthouse.core.requests import ModelRequest
from posthouse.dialects import openai_completions
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_completions import Renumbered
from posthouse.dialects.openai_errors import encode_error
from posthouse.gateway.model import Answer, Call

_AT_ONCE: Final = 4
_OF_ONE: Final = (b"x-posthouse-cost:", b"x-posthouse-currency:")


class Completions:
    """The handler of the route."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._gateway = asker.gateway

    async def complete(self, exchange: Exchange) -> None:
        request = self._asker.heeded(exchange, openai_completions.decode_head(exchange.body))
        if openai_completions.prompts(request) == 1 or await self._gateway.passes(request):
            await self._asker.ask(exchange, request)
            return
        parts = [openai_completions.decode_head(body) for body in openai_completions.split(request)]
        calls = [self._call(exchange, part, number) for number, part in enumerate(parts, 1)]
        if request.stream:
            await self._stream(exchange, calls)
        else:
            await self._whole(exchange, calls)

    def _call(self, exchange: Exchange, request: ModelRequest, number: int) -> Call:
        call = self._asker.call(exchange, request)
        if number > 1:
            call.id = f"{call.id}.{number}"
        return call

    async def _whole(self, exchange: Exchange, calls: Sequence[Call]) -> None:
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(call: Call) -> Answer:
            async with places:
                return await self._gateway.run(call)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(call)) for call in calls]
        except* PosthouseError as errors:
            raise _first(errors) from None
        answers = [task.result() for task in tasks]
        try:
            body = openai_completions.join([answer.body for answer in answers])
        except DialectError as error:
            raise UpstreamFailure("server", f"The provider's answer makes no sense: {error}.") from None
        exchange.respond(200, self._head(exchange, JSON, answers[0]), body)

    async def _stream(self, exchange: Exchange, calls: Sequence[Call]) -> None:
        """One after the other, so that each is heard as it comes."""
        exchange.streaming = True
        loop = asyncio.get_running_loop()
        numbering = Renumbered()
        try:
            for call in calls:
                answer = await self._gateway.run(call)
                events = answer.events
                assert events is not None  # a stream was asked for
                try:
                    exchange.start(200, self._head(exchange, EVENT_STREAM, answer), loop.time())
                    async for block in events:
                        if out := numbering.feed(block):
                            exchange.write(out, loop.time())
                        if exchange.write_paused:
                            await exchange.drained()
                finally:
                    await events.aclose()
                numbering.next_prompt()
        except PosthouseError as error:
            if not exchange.started:
                raise
            exchange.refusal = error
            exchange.end(b"data: " + encode_error(error) + b"\n\n")
            return
        exchange.end(numbering.end())

    def _head(self, exchange: Exchange, kind: bytes, first: Answer) -> bytes:
        """What the first call says of itself, but for its cost: each of them has its own, in its record."""
        lines = [line for line in first.headers.splitlines(keepends=True) if not line.startswith(_OF_ONE)]
        return self._asker.head(exchange, kind, Answer(b"".join(lines)))


def _first(errors: BaseExceptionGroup[PosthouseError]) -> PosthouseError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
