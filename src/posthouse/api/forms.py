"""The routes whose requests are forms with files: transcriptions, translations, edits and variations of pictures.

Above: `openai.py`, which puts them at their addresses. A form with sound passes through as it comes; one with pictures
is read first, since what it costs may be said behind them (on disk, where it is long). A form of at most a MiB is kept
either way, so that another provider can be sent it. Edits may be asked for as JSON too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from posthouse.api.asking import PLAIN, Asker, Manner
from posthouse.api.exchange import Exchange
from posthouse.api.uploads import FormUpload, read_all
from posthouse.api.usual import usual_model, with_model
from posthouse.core.requests import ModelRequest, Operation
from posthouse.dialects import openai_media_forms as forms
from posthouse.dialects.beside import is_json
from posthouse.dialects.fields import model_of, name_model

# The model where the path names it; empty where the form does.
FormHandler = Callable[[Exchange, str], Awaitable[None]]
Decode = Callable[[str, forms.Said, FormUpload], ModelRequest]
# Nothing is said while a client is still sending: the status of the answer is open until then (`_all_sent`).
_SENDING: Final = Manner(beats=False)
_encode: Final = msgspec.json.Encoder().encode


class Forms:
    """`routes`: path below a base -> the operation, and what answers there. `most`: bytes of a body."""

    def __init__(self, asker: Asker, most: int) -> None:
        self._asker = asker
        self._most = most
        self.routes: Mapping[str, tuple[Operation, FormHandler]] = {
            "/audio/transcriptions": ("audio.transcriptions", self._hearing("audio.transcriptions")),
            "/audio/translations": ("audio.translations", self._hearing("audio.translations")),
            "/images/edits": ("images.edits", self.edit),
            "/images/variations": ("images.variations", self.vary),
        }

    async def edit(self, exchange: Exchange, model: str) -> None:
        if is_json(exchange.headers.get(b"content-type", b"")):
            body = await read_all(exchange)
            body = name_model(body, model) if model else with_model(self._asker, exchange, "images.edits", body)
            await self._asker.ask(exchange, forms.decode_edit(body))
            return
        await self._drawing(exchange, model, "images.edits", forms.edit_request)

    async def vary(self, exchange: Exchange, model: str) -> None:
        await self._drawing(exchange, model, "images.variations", forms.variation_request)

    async def _drawing(self, exchange: Exchange, model: str, operation: Operation, decode: Decode) -> None:
        with await FormUpload.begin_named(exchange, self._most) as upload:
            await upload.whole()
            named = model or upload.field("model")
            if named is None:
                named = usual_model(self._asker, exchange, operation)
            request = decode(_checked(named), upload.scan, upload)
            request.body_size = upload.kept
            await self._asker.ask(exchange, request)

    def _hearing(self, operation: Operation) -> FormHandler:
        async def hear(exchange: Exchange, model: str) -> None:
            with await self._begun(exchange, model) as upload:
                await upload.small()
                await upload.opened()
                to_come = upload.bytes_to_come
                size = upload.file_bytes + (self._most - upload.kept if to_come is None else to_come)
                named = _checked(model or upload.model)
                request = forms.heard_request(operation, named, upload.scan, upload, size)
                upload.at_end = partial(_all_sent, exchange, upload)
                await self._asker.ask(exchange, request, PLAIN if to_come == 0 else _SENDING)

        return hear

    async def _begun(self, exchange: Exchange, model: str) -> FormUpload:
        if model:
            return await FormUpload.begin_named(exchange, self._most)
        return await FormUpload.begin(exchange, self._most)


def _all_sent(exchange: Exchange, upload: FormUpload) -> None:
    """Now it is known whether events were asked for, and from here on it is we who are silent."""
    exchange.streaming = forms.wants_events(upload)
    exchange.last_write = asyncio.get_running_loop().time()


def _checked(model: str) -> str:
    return model_of({"model": msgspec.Raw(_encode(model))})
