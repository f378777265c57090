"""The line to Redis, on a real server and on servers that misbehave."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from posthouse.core.errors import ConfigError
from posthouse.storage.redis import Redis, Script, address_of, slot_of
from posthouse.storage.redis_wire import RedisError, RedisLost

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture
async def line(redis_server: str) -> AsyncIterator[Redis]:
    line = Redis(redis_server)
    assert await line.open()
    yield line
    await line.close()


@pytest.fixture
def key() -> bytes:
    return b"posthouse-test:%b" % secrets.token_hex(6).encode()


@pytest.mark.req("REDIS-001")
async def test_commands_and_scripts_are_answered_in_their_order(line: Redis, key: bytes) -> None:
    assert await line.ask(key, "SET", key, "1", "PX", 60_000) == b"OK"
    answers = await asyncio.gather(*(line.result(ADD, (key,), number) for number in range(1, 101)))
    assert answers == [1 + number * (number + 1) // 2 for number in range(1, 101)]
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await line.ask(key, "LPUSH", key, "x")


@pytest.mark.req("REDIS-002")
async def test_a_script_that_the_server_has_forgotten_is_told_again(line: Redis, key: bytes) -> None:
    fresh = Script(f"-- {secrets.token_hex(6)}\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert [await line.result(fresh, (key,), 1) for _ in range(2)] == [1, 2]
    await line.ask(key, "DEL", key)


@pytest.mark.req("REDIS-003")
async def test_a_broken_connection_fails_who_waits_and_comes_back(redis_server: str, key: bytes) -> None:
    moves: list[bool] = []
    line = Redis(redis_server, changed=moves.append)
    assert await line.open()
    killer = Redis(redis_server)
    assert await killer.open()
    number = await line.ask(key, "CLIENT", "ID")
    waiting = asyncio.gather(line.ask(key, "BLPOP", key, 5), line.ask(key, "PING"), return_exceptions=True)
    await killer.ask(key, "CLIENT", "KILL", "ID", number)
    assert [type(one) for one in await waiting] == [RedisLost, RedisLost]
    await _until(lambda: line.up)
    assert await line.ask(key, "PING") == b"PONG"
    assert moves == [True, False, True]
    await line.close()
    await killer.close()
    with pytest.raises(RedisLost):
        await line.ask(key, "PING")


@pytest.mark.req("REDIS-004")
async def test_silence_is_noticed_within_the_patience() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"SETNAME\r\n$9\r\nposthouse\r\n")
        writer.write(b"+OK\r\n")
        await reader.readuntil(b"SLOTS\r\n")
        writer.write(b"-ERR This instance has cluster support disabled\r\n")
        await reader.read()

    async with _serving(silent) as url:
        line = Redis(url, patience=0.05)
        assert await line.open()
        answers = await asyncio.gather(*(line.ask(b"k", "GET", "k") for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in answers] == [RedisLost] * 3
        assert line.counts.unanswered == 3
        await line.close()


@pytest.mark.req("REDIS-013")
async def test_who_had_no_time_to_ask_does_not_take_the_server_for_silent(redis_server: str, key: bytes) -> None:
    line = Redis(redis_server, patience=0.1)
    assert await line.open()
    asked = asyncio.ensure_future(line.ask(key, "PING"))
    await asyncio.sleep(0)  # it is to be sent at the end of this turn, which takes its time
    until = time.monotonic() + 0.25
    while time.monotonic() < until:
        pass
    assert await asked == b"PONG"
    assert line.counts.lost == 0
    await line.close()


@pytest.mark.req("REDIS-004")
async def test_without_a_server_everybody_is_told_at_once_and_one_is_sought_on() -> None:
    line = Redis("redis://127.0.0.1:1", patience=0.05)
    assert not await line.open()
    with pytest.raises(RedisLost, match="no connection"):
        await line.ask(b"k", "GET", "k")
    await _until(lambda: line.counts.failed >= 2)
    await line.close()


@pytest.mark.req("REDIS-005")
@pytest.mark.parametrize("says", [b"$-5\r\n", b"nonsense\r\n", b"+OK\r\n+more than was asked\r\n"])
async def test_an_answer_that_is_none_ends_the_connection(says: bytes) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"posthouse\r\n")
        writer.write(b"+OK\r\n")
        await reader.readuntil(b"SLOTS\r\n")
        writer.write(b"-ERR no\r\n")
        await reader.readuntil(b"GET\r\n$1\r\nk\r\n")
        writer.write(says)
        await reader.read()

    async with _serving(odd) as url:
        moves: list[bool] = []
        line = Redis(url, changed=moves.append)
        assert await line.open()
        await asyncio.gather(line.ask(b"k", "GET", "k"), return_exceptions=True)
        await _until(lambda: False in moves)
        await line.close()


@pytest.mark.req("REDIS-012")
@pytest.mark.parametrize(
    "says",
    [
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-ERR Error running script (call to f_0): @user_script: 3: -READONLY You can't write.\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
    ],
)
async def test_a_server_that_cannot_serve_is_left_and_sought_until_it_can(says: bytes) -> None:
    """It has become a copy, is then being loaded, and at last serves; who may not ask for its role finds out."""
    lives = [
        {b"GET": says},
        {b"ROLE": b"*3\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n"},
        {b"PING": b"-LOADING Redis is loading the dataset in memory\r\n"},
        {b"ROLE": b"-NOPERM this user has no permissions\r\n", b"GET": says},
        {b"ROLE": b"*1\r\n$6\r\nmaster\r\n"},
    ]
    usual = {b"PING": b"+PONG\r\n", b"CLUSTER": b"-ERR no\r\n", b"GET": b"$1\r\nv\r\n", b"CLIENT": b"+OK\r\n"}
    lived = iter(lives)

    async def changing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = {**usual, **next(lived)}
        while words := await _command(reader):
            writer.write(answers[words[0]])

    async with _serving(changing) as url:
        moves: list[bool] = []
        line = Redis(url, patience=5.0, changed=moves.append)
        assert await line.open()
        for _ in range(2):
            await _until(lambda: line.up)
            with pytest.raises(RedisLost):
                await line.ask(b"k", "GET", "k")
        await _until(lambda: line.up)
        assert await line.ask(b"k", "GET", "k") == b"v"
        assert moves == [True, False, True, False, True]
        await line.close()


@pytest.mark.req("REDIS-006")
async def test_a_wrong_password_is_said_and_nothing_is_sent(redis_server: str) -> None:
    line = Redis(redis_server.replace("redis://", "redis://nobody-here:wrong@"))
    assert not await line.open()
    assert line.counts.failed == 1
    await line.close()


@pytest.mark.req("REDIS-007")
async def test_a_clusters_keys_are_asked_of_the_node_that_has_them() -> None:
    """Two nodes: the first has the lower half of the slots, and one slot of the second's has come to it."""
    asked: dict[str, list[bytes]] = {"low": [], "high": []}
    ports: dict[str, int] = {}

    def node(name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while words := await _command(reader):
                if words[0] in (b"CLIENT", b"ASKING"):
                    writer.write(b"+OK\r\n")
                elif words[0] == b"CLUSTER":
                    writer.write(
                        b"*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n"
                        b"*3\r\n:8192\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % (ports["low"], ports["high"])
                    )
                elif words[1] == b"{away}" and name == "high":
                    writer.write(b"-MOVED %d 127.0.0.1:%d\r\n" % (slot_of(b"away"), ports["low"]))
                elif words[1] == b"{once}" and name == "high":
                    writer.write(b"-ASK %d 127.0.0.1:%d\r\n" % (slot_of(b"once"), ports["low"]))
                else:
                    asked[name].append(words[1])
                    writer.write(b"+%b\r\n" % name.encode())

        return serve

    async with _serving(node("low")) as low, _serving(node("high")) as high:
        ports.update(low=int(low.rsplit(":", 1)[1]), high=int(high.rsplit(":", 1)[1]))
        line = Redis(low)
        assert await line.open()
        keys = [b"{%d}" % number for number in range(50)]
        for one in keys:
            wanted = "low" if slot_of(one) < 8192 else "high"
            assert await line.ask(one, "GET", one) == wanted.encode()
        assert slot_of(b"{away}") >= 8192 <= slot_of(b"{once}")
        assert await line.ask(b"{away}", "GET", b"{away}") == b"low"
        assert await line.ask(b"{once}", "GET", b"{once}") == b"low"
        assert asked["low"] and asked["high"]
        await line.close()


def lone(says: Callable[[list[bytes]], bytes], ports: Sequence[int]) -> "_serving":
    """A node of a cluster of which the last of `ports` has all slots and the first is a replica; it answers everything
    else by `says`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await _command(reader):
            if words[0] == b"CLIENT":
                writer.write(b"+OK\r\n")
            elif words[0] == b"CLUSTER":
                # An endpoint that the node does not know is nil: it is where we have reached it.
                nodes = b"".join(b"*2\r\n$-1\r\n:%d\r\n" % port for port in (ports[-1], ports[0]))
                writer.write(b"*1\r\n*4\r\n:0\r\n:16383\r\n%b" % nodes)
            else:
                writer.write(says(words))

    return _serving(serve)


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


@pytest.mark.req("REDIS-010")
async def test_what_meets_a_slot_on_the_move_is_asked_again_within_the_patience() -> None:
    moving = True
    tries: list[bytes] = []

    def says(words: list[bytes]) -> bytes:
        tries.append(words[1])
        return b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n" if moving else b"+done\r\n"

    ports: list[int] = []
    async with lone(says, ports) as url:
        ports.append(port_of(url))
        line = Redis(url, patience=5.0)
        assert await line.open()
        asked = asyncio.ensure_future(line.ask(b"k", "GET", b"k"))
        await _until(lambda: len(tries) >= 3)
        moving = False
        assert await asked == b"done"
        assert line.counts.unanswered == 0
        await line.close()


@pytest.mark.req("REDIS-010")
@pytest.mark.parametrize("error", [b"CLUSTERDOWN The cluster is down", b"TRYAGAIN later", b"LOADING", b"READONLY no"])
async def test_a_server_that_can_do_nothing_is_lost_until_it_can(error: bytes) -> None:
    able = False

    def says(words: list[bytes]) -> bytes:
        return b"+done\r\n" if able else b"-%b\r\n" % error

    moves: list[bool] = []
    ports: list[int] = []
    async with lone(says, ports) as url:
        ports.append(port_of(url))
        line = Redis(url, patience=0.05, changed=moves.append)
        assert await line.open()
        with pytest.raises(RedisLost):
            await line.ask(b"k", "GET", b"k")
        assert moves == [True, False]
        assert not line.up
        able = True
        await _until(lambda: line.up)
        assert moves == [True, False, True]
        assert await line.ask(b"k", "GET", b"k") == b"done"
        await line.close()


@pytest.mark.req("REDIS-011")
async def test_who_has_the_slots_of_a_node_that_is_gone_is_asked_of_the_others() -> None:
    """The only master is gone for ever, its replica takes over, and nobody sends MOVED."""
    moves: list[bool] = []
    ports: list[int] = []
    async with lone(lambda _: b"+heir\r\n", ports) as heir:
        ports.append(port_of(heir))
        async with lone(lambda _: b"+master\r\n", ports) as master:
            ports.append(port_of(master))
            line = Redis(master, changed=moves.append)
            assert await line.open()
            assert await line.ask(b"k", "GET", b"k") == b"master"
            assert moves == [True]
            ports.append(port_of(heir))
        await _until(lambda: not line.up)
        await _until(lambda: line.up)
        assert moves == [True, False, True]
        assert await line.ask(b"k", "GET", b"k") == b"heir"
        await line.close()


@pytest.mark.req("REDIS-011")
async def test_where_all_nodes_have_other_addresses_the_one_of_the_url_is_asked_again() -> None:
    ports: list[int] = []
    async with lone(lambda _: b"+new\r\n", ports) as home:
        async with lone(lambda _: b"+old\r\n", ports) as old:
            ports.append(port_of(old))
            line = Redis(home)
            await line.open()
            await _until(lambda: line.up)
            assert await line.ask(b"k", "GET", b"k") == b"old"
            ports.append(port_of(home))
        await _until(lambda: not line.up)
        await _until(lambda: line.up)
        assert await line.ask(b"k", "GET", b"k") == b"new"
        await line.close()


@pytest.mark.req("REDIS-008")
def test_slots_are_those_of_the_cluster_specification() -> None:
    # Redis cluster specification, "Keys hash tags" and appendix A: CRC16("123456789") is 0x31C3.
    assert slot_of(b"123456789") == 0x31C3
    assert slot_of(b"{user1000}.following") == slot_of(b"{user1000}.followers") == slot_of(b"user1000")
    assert slot_of(b"foo{}{bar}") != slot_of(b"bar")
    assert slot_of(b"foo{{bar}}zap") == slot_of(b"{bar")
    assert slot_of(b"foo{bar}{zap}") == slot_of(b"bar")


@pytest.mark.req("REDIS-009")
@pytest.mark.parametrize(
    ("url", "repr_", "user", "database"),
    [
        ("redis://h", "h:6379", None, 0),
        ("redis://:p%40@h:7000/3", "h:7000", None, 3),
        ("rediss://u:p@h:1?db=2", "h:1", "u", 2),
        ("unix:///run/r.sock?db=4", "/run/r.sock", None, 4),
    ],
)
def test_urls(url: str, repr_: str, user: str | None, database: int) -> None:
    address = address_of(url)
    assert repr(address) == f"Address({repr_})"
    assert (address.username, address.database) == (user, database)
    assert (address.tls is not None) == url.startswith("rediss:")


@pytest.mark.req("REDIS-009")
@pytest.mark.parametrize("url", ["http://h", "redis://h:port", "redis://h/x", "unix://", "redis://h/-1", "x"])
def test_what_is_no_url_of_redis_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="redis url"):
        address_of(url)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


class _serving:
    """A server on the loopback interface; its URL."""

    def __init__(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._serve = serve

    async def __aenter__(self) -> str:
        self._visits: set[asyncio.Task[Any]] = set()
        self._server = await asyncio.start_server(self._visited, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit is not None
        self._visits.add(visit)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the client has gone, or the test has ended
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def __aexit__(self, *_: Any) -> None:
        self._server.close()
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    try:
        count = int((await reader.readuntil(b"\r\n"))[1:])
        words = []
        for _ in range(count):
            size = int((await reader.readuntil(b"\r\n"))[1:])
            words.append((await reader.readexactly(size + 2))[:-2])
    except asyncio.IncompleteReadError:
        return []
    return words
