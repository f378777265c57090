"""Websockets frame by frame: what may be said, and what closes them."""

import asyncio
import contextlib
import json
import logging
import random

import pytest
from websockets.frames import Frame, Opcode

from posthouse.api.house import ProtocolOptions
from tests.api.doorway import soon, until
from tests.api.sockets import answers, frame, rest, room, said


# --- frames ----------------------------------------------------------------------------------------------------------
@pytest.mark.req("WS-007")
async def test_a_message_may_come_in_fragments_with_pings_between_them() -> None:
    async with room() as here:
        client = await here.opened()
        text = b'{"ask":"whole"}'
        client.send(frame(Opcode.TEXT, text[:1], fin=False))
        for at in range(1, len(text) - 1):
            client.send(frame(Opcode.PING, b"%d" % at) + frame(Opcode.CONT, text[at : at + 1], fin=False))
        client.send(frame(Opcode.CONT, text[-1:]))
        for at in range(1, len(text) - 1):
            assert await said(client) == (10, b"%d" % at)
        assert await said(client) == (1, b'{"whole":true}')
        await client.leave()


@pytest.mark.req("WS-007")
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(Opcode.BINARY, b"{}"), 1003),
        (frame(Opcode.BINARY, b"{", fin=False), 1003),
        (frame(Opcode.TEXT, b'{"a":"\xff"}'), 1007),
        (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
        (b"\x83\x80" + bytes(4), 1002),
        (frame(Opcode.CONT, b"{}"), 1002),
        (frame(Opcode.TEXT, b"{", fin=False) + frame(Opcode.TEXT, b"}"), 1002),
        (b"\xc1\x80" + bytes(4), 1002),
        (frame(Opcode.TEXT, bytes(1001)), 1009),
        (frame(Opcode.TEXT, bytes(600), fin=False) + frame(Opcode.CONT, bytes(600)), 1009),
        (b"\x81\xff" + (1 << 60).to_bytes(8) + bytes(4), 1009),
        (frame(Opcode.CLOSE, (1000).to_bytes(2)), 1000),
    ],
    ids=[
        "binary",
        "binary in fragments",
        "no UTF-8",
        "not masked",
        "unknown opcode",
        "nothing to continue",
        "a message inside of one",
        "compressed",
        "too large",
        "too large in fragments",
        "enormous",
        "goodbye",
    ],
)
async def test_what_cannot_be_heard_closes_the_websocket_and_says_why(sent: bytes, code: int) -> None:
    async with room(ProtocolOptions(body_limit=1000)) as here:
        client = await here.opened()
        client.send(sent)
        opcode, content = await said(client)
        assert (opcode, int.from_bytes(content[:2])) == (8, code)
        assert await client.ended()
        assert here.face.asked == []
        await client.leave()
        await until(lambda: not here.at.connections)


@pytest.mark.req("WS-007")
async def test_a_client_that_sends_far_too_much_without_looking_hears_why() -> None:
    async with room(ProtocolOptions(body_limit=1000)) as here:
        client = await here.opened()
        client.send(frame(Opcode.TEXT, bytes(8 << 20)))
        opcode, content = await said(client)
        assert (opcode, int.from_bytes(content[:2])) == (8, 1009)
        assert await client.ended()
        await client.leave()


@pytest.mark.req("WS-007")
async def test_a_message_as_large_as_a_body_may_be_is_heard() -> None:
    async with room() as here, here.connect(max_size=None) as socket:
        await socket.send(json.dumps({"ask": "whole", "text": "ä" * 4_000_000}))
        assert await rest(socket) == [{"whole": True}]


# --- anything at all -------------------------------------------------------------------------------------------------
@pytest.mark.req("WS-007")
async def test_no_bytes_whatever_are_a_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(6455)
    texts = [b'{"ask":"whole"}', b'{"type":"cancel"}', b"{", b"\xff", b"", b"x" * 200]
    async with room(ProtocolOptions(body_limit=1000)) as here:
        for _ in range(150):
            sent = bytearray()
            for _ in range(chance.randint(1, 6)):
                opcode, fin = chance.choice(list(Opcode)), chance.random() < 0.7
                content = chance.choice(texts)[: 125 if opcode >= 8 else None]
                sent += Frame(opcode, content, fin or opcode >= 8).serialize(mask=chance.random() < 0.95)
            for _ in range(chance.randint(0, 3)):
                sent[chance.randrange(len(sent))] = chance.randrange(256)
            client = await here.opened()
            for at in range(0, len(sent), size := chance.randint(1, 40)):
                if not client.writer.is_closing():
                    client.send(bytes(sent[at : at + size]))
                await asyncio.sleep(0)
            with contextlib.suppress(OSError, RuntimeError):  # it may have been closed already
                client.writer.write_eof()
                await soon(client.reader.read())
            await client.leave()
        await until(lambda: not here.at.connections and not here.at.state.tasks)
        async with here.connect() as socket:
            assert await answers(socket, of="whole") == [{"whole": True}]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
