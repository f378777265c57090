"""Exactly once: whatever breaks between the file and the database, in the end it says what was flushed."""

import asyncio
import errno
import json
import os
import threading
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple
from sqlalchemy import text

from posthouse.core.errors import ConfigError, Unavailable
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from posthouse.storage.rows import END, EndRow, RequestRow
from posthouse.storage.segments import encode_line, segment_path, segments
from tests.storage.lines import SLOW, left_behind, many, written
from tests.storage.sample import FAST, append, breaking, clear, dump, end, expected, hold, journal_at, request, whole


def test_what_was_flushed_is_in_the_database(database: Database, tmp_path: Path) -> None:
    lines = many(30)
    with journal_at(tmp_path / "journal", database) as journal:
        append(journal, lines)
        assert journal.wait_applied(30)
        assert dump(database) == expected(lines)
        assert journal.healthy


def test_a_close_applies_the_rest_and_empties_the_folder(database: Database, tmp_path: Path) -> None:
    lines = many(10)
    with journal_at(tmp_path / "journal", database, SLOW) as journal:
        append(journal, lines)
    assert dump(database) == expected(lines)
    assert segments(tmp_path / "journal") == []


def test_a_close_flushes_what_was_only_appended(database: Database, tmp_path: Path) -> None:
    with journal_at(tmp_path / "journal", database) as journal:
        for kind, row in many(2):
            journal.append(kind, row)
    assert dump(database) == expected(many(2))


def test_lives_follow_each_other_in_one_folder(database: Database, tmp_path: Path) -> None:
    for life in range(4):
        with journal_at(tmp_path / "journal", database) as journal:
            append(journal, many(5, first=5 * life))
    assert dump(database) == expected(many(20))


def test_a_reader_waits_no_longer_than_it_must(database: Database, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", database, options=SLOW)
    journal.start()
    append(journal, many(1))
    assert journal.wait_applied(20)  # though the thread would gather for 30 s
    assert dump(database) == expected(many(1))
    assert journal.close(20)


def test_a_wait_is_bounded(database: Database, tmp_path: Path) -> None:
    with journal_at(tmp_path / "journal", database, appliers=breaking([("begin", False)] * 4)) as journal:
        append(journal, many(1))
        assert not journal.wait_applied(0.0)


def test_segments_are_deleted_when_they_are_applied(database: Database, tmp_path: Path) -> None:
    options = JournalOptions(gather=0.001, retry=0.01, segment_bytes=2_000)
    with journal_at(tmp_path / "journal", database, options) as journal:
        for number in range(60):
            append(journal, whole(number))
        assert journal.wait_applied(30)
        stats = journal.stats()
        assert stats.pending_bytes == stats.pending_lines == 0
        assert stats.applied_lines == 180
    assert dump(database) == expected(many(60))


_STEPS = st.one_of(st.none(), st.tuples(st.sampled_from(["begin", "apply", "move", "commit"]), st.booleans()))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(breaks=st.lists(_STEPS, max_size=12), chunk=st.integers(1, 20), count=st.integers(1, 12))
def test_a_database_that_breaks_at_any_step_gets_every_line_once(
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
    breaks: list[tuple[str, bool] | None],
    chunk: int,
    count: int,
) -> None:
    clear(database)
    directory = tmp_path_factory.mktemp("journal")
    options = JournalOptions(gather=0.001, retry=0.01, chunk_lines=chunk)
    with journal_at(directory, database, options, breaking(breaks)) as journal:
        append(journal, many(count))
        assert journal.wait_applied(60)
        stats = journal.stats()
        assert (stats.applied_lines, stats.pending_lines, stats.pending_bytes) == (3 * count, 0, 0)
    assert dump(database) == expected(many(count))


def test_a_poisoned_line_is_set_aside_and_blocks_nobody(database: Database, tmp_path: Path) -> None:
    poison = (END, EndRow("req_000003", "settled", 5, 7, None, "provider", "key_0", "acc_1", "main", 20261121, None))
    lines = [*many(3), hold(3), *many(3, first=4)]
    with journal_at(tmp_path / "journal", database) as journal:
        append(journal, [*lines[:5], poison, *lines[5:]])
        assert journal.wait_applied(30)
        assert journal.stats().rejected == 1
    assert dump(database) == expected(lines)
    rejected = [json.loads(line) for line in (tmp_path / "journal" / "rejected").read_text().splitlines()]
    assert [entry["line"][0] for entry in rejected] == ["E"]
    assert "req_000003" in rejected[0]["line"]


def test_a_damaged_line_and_one_of_an_unknown_kind_are_set_aside(database: Database, tmp_path: Path) -> None:
    lines = many(3)
    data = bytearray(written(tmp_path / "first", database, lines))
    clear(database)
    data[data.index(b"req_000001")] ^= 1  # the hold of the second request
    left_behind(tmp_path / "journal", bytes(data).replace(b"\n", b"\nX00000000[]\n", 1))
    with journal_at(tmp_path / "journal", database) as journal:
        assert journal.wait_applied(30)
        assert journal.stats().rejected == 2
    assert dump(database) == expected([line for line in lines if line != hold(1)])


def test_a_second_server_in_one_folder_is_told_which(database: Database, tmp_path: Path) -> None:
    with journal_at(tmp_path / "journal", database):
        with pytest.raises(ConfigError, match=str(tmp_path)):
            Journal(tmp_path / "journal", database).start()
        assert not Journal.recover(tmp_path / "journal", database)


def test_a_command_applies_what_a_killed_server_left(database: Database, tmp_path: Path) -> None:
    assert Journal.recover(tmp_path / "nothing", database)
    lines = many(4)
    data = written(tmp_path / "first", database, lines)
    clear(database)
    left_behind(tmp_path / "journal", data)
    assert Journal.recover(tmp_path / "journal", database)
    assert dump(database) == expected(lines)
    assert segments(tmp_path / "journal") == []


@pytest.mark.parametrize("last", ["ended_by", "image_kind"])  # of the first version, of that with units
def test_records_that_an_older_version_left_in_the_journal_are_applied(
    database: Database, tmp_path: Path, last: str
) -> None:
    records = [request(number) for number in range(5)]
    length = RequestRow.__struct_fields__.index(last) + 1
    older = [astuple(row)[:length] for _, row in records]
    data = b"".join(encode_line(b"R", crc32(b"R"), msgspec.json.encode(row)) for row in older)
    left_behind(tmp_path / "journal", data)
    with journal_at(tmp_path / "journal", database) as journal:
        assert journal.wait_applied(30)
        assert journal.stats().rejected == 0
    assert dump(database) == expected([("R", RequestRow(*values)) for values in older])


def test_two_servers_on_one_database_keep_apart(database: Database, tmp_path: Path) -> None:
    with journal_at(tmp_path / "a", database) as one, journal_at(tmp_path / "b", database) as two:
        for number in range(20):
            append(one if number % 2 else two, whole(number))
    assert dump(database) == expected(many(20))


def test_a_server_that_cannot_reach_its_database_admits_until_the_journal_is_full(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'posthouse.db'}")
    database.upgrade()
    options = JournalOptions(gather=0.001, retry=0.01, segment_bytes=1_000, total_bytes=9_000, headroom_bytes=4_000)
    journal = Journal(tmp_path / "journal", database, options=options)
    journal.start()
    with database.write():  # nobody else can write now
        number = 0
        while journal.healthy:
            append(journal, [hold(number)])
            number += 1
        with pytest.raises(Unavailable):
            journal.append(*hold(number))
        append(journal, [end(each) for each in range(number)])
    lines = [hold(each) for each in range(number)] + [end(each) for each in range(number)]
    assert journal.wait_applied(60)
    assert dump(database) == expected(lines)
    assert journal.close(30)
    database.close()


def test_lines_that_a_full_disk_refused_are_written_when_there_is_room(database: Database, tmp_path: Path) -> None:
    full = threading.Event()

    def write(descriptor: int, data: bytes, offset: int) -> int:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwrite(descriptor, data, offset)

    with journal_at(tmp_path / "journal", database, JournalOptions(gather=0.001, retry=0.01, write=write)) as journal:
        append(journal, [hold(1)])
        full.set()
        with pytest.raises(Unavailable):
            append(journal, [end(1)])
        assert not journal.healthy
        with pytest.raises(Unavailable):
            journal.append(*hold(2))
        full.clear()
    assert dump(database) == expected([hold(1), end(1)])


def test_a_close_that_cannot_reach_the_database_leaves_the_lines_for_the_next_start(
    database: Database, tmp_path: Path
) -> None:
    broken = breaking([("begin", False)] * 100_000)
    journal = Journal(tmp_path / "journal", database, broken, FAST)
    journal.start()
    append(journal, many(3))
    assert not journal.close(0.05)
    assert dump(database) == expected([])
    with journal_at(tmp_path / "journal", database):
        pass
    assert dump(database) == expected(many(3))


async def test_holds_that_come_together_are_flushed_together_soon(database: Database, tmp_path: Path) -> None:
    writes: list[int] = []
    loop = asyncio.get_running_loop()
    written = asyncio.Event()

    def write(descriptor: int, data: bytes, offset: int) -> int:
        writes.append(data.count(b"\n"))
        loop.call_soon_threadsafe(written.set)
        return os.pwrite(descriptor, data, offset)

    with journal_at(tmp_path / "journal", database, JournalOptions(write=write)) as journal:
        for number in range(3):
            journal.append(*hold(number))
            journal.flush_soon()
        assert writes == []
        await asyncio.wait_for(written.wait(), 10)
        assert writes == [3]
    assert dump(database) == expected([hold(number) for number in range(3)])


def test_the_folder_is_for_its_owner_alone(database: Database, tmp_path: Path) -> None:
    with journal_at(tmp_path / "journal", database):
        assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o777 for file in segments_of(tmp_path / "journal")} == {0o600}


def segments_of(directory: Path) -> list[Path]:
    return [segment_path(directory, number) for number in segments(directory)]


def test_a_missing_table_is_waited_for_and_costs_no_line(database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        connection.execute(text("ALTER TABLE holds RENAME TO elsewhere"))
    with journal_at(tmp_path / "journal", database) as journal:
        append(journal, many(2))
        assert not journal.wait_applied(0.3)
        with database.write() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO holds"))
        assert journal.wait_applied(30)
        assert journal.stats().rejected == 0
    assert dump(database) == expected(many(2))


def test_a_journal_that_is_not_open_says_so(database: Database, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", database)
    assert not journal.healthy
    assert not journal.wait_applied(0.0)
    assert journal.stats().applied_lines == 0
    with pytest.raises(RuntimeError):
        journal.flush()
    assert journal.close(0.0)
