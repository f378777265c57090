"""Exactly once after a kill: a folder of a dead process says again what it said, wherever it stopped."""

import subprocess
import sys
from pathlib import Path

from posthouse.storage.database import Database
from posthouse.storage.journal import Journal
from posthouse.storage.rows import END, HOLD, REQUEST
from posthouse.storage.segments import segment_path, segments
from tests.storage.lines import left_behind, many, written
from tests.storage.sample import FAST, append, clear, dump, expected, journal_at, whole


def test_a_killed_process_is_replayed_from_every_place_where_it_can_have_stopped(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'posthouse.db'}")
    database.upgrade()
    lines = many(6)
    data = written(tmp_path / "first", database, lines)
    ends = [place + 1 for place, byte in enumerate(data) if byte == 10]
    cuts = sorted({0, *ends, *(place - 1 for place in ends), *(place + 5 for place in ends[:-1]), *range(1, 12)})
    for cut in cuts:
        clear(database)
        left_behind(tmp_path / "journal", data[:cut])
        done = sum(place <= cut for place in ends)
        with journal_at(tmp_path / "journal", database) as journal:
            assert journal.wait_applied(30)
            assert dump(database) == expected(lines[:done]), cut
            append(journal, lines[done:])  # nobody was told of the torn line: it comes again
        assert dump(database) == expected(lines), cut
    database.close()


def test_a_replay_on_postgresql_is_as_exact(database: Database, tmp_path: Path) -> None:
    lines = many(4)
    data = written(tmp_path / "first", database, lines)
    for cut in (0, 1, len(data) // 2, len(data) - 1, len(data)):
        clear(database)
        left_behind(tmp_path / "journal", data[:cut])
        done = data[:cut].count(b"\n")
        with journal_at(tmp_path / "journal", database) as journal:
            append(journal, lines[done:])
        assert dump(database) == expected(lines), cut


def test_a_replay_of_what_was_applied_changes_nothing(database: Database, tmp_path: Path) -> None:
    lines = many(5)
    directory = tmp_path / "journal"
    journal = Journal(directory, database, options=FAST)
    journal.start()
    append(journal, lines)
    assert journal.wait_applied(30)
    kept = {number: segment_path(directory, number).read_bytes() for number in segments(directory)}
    assert journal.close(30)
    for number, data in kept.items():  # as if the kill had come before the deletion
        segment_path(directory, number).write_bytes(data)
    with journal_at(directory, database) as again:
        append(again, many(2, first=5))
    assert dump(database) == expected(many(7))


KILLED = """
import sys
from pathlib import Path
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from tests.storage.sample import whole

first = int(sys.argv[3])
journal = Journal(Path(sys.argv[1]), Database(sys.argv[2]), options=JournalOptions(gather=0.002, segment_bytes=50_000))
journal.start()
for number in range(first, first + 1_000_000):
    for kind, row in whole(number):
        journal.append(kind, row)
    journal.flush()
    print(number, flush=True)
"""


def test_every_acknowledged_row_is_there_once_after_kills(database: Database, tmp_path: Path) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    acknowledged: list[int] = []
    for life in range(5):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "journal"), url, str(life * 1_000_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            acknowledged += [int(process.stdout.readline()) for _ in range(150 + 371 * life)]
            process.kill()
            acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    assert Journal.recover(tmp_path / "journal", database)
    found = dump(database)
    ids = [f"req_{number:06d}" for number in acknowledged]
    assert set(ids) <= {row[0] for row in found["holds"]}
    assert set(ids) <= {row[0] for row in found["requests"]}
    # Nothing twice: whatever is there is exactly what those requests come to, no more. A kill may cut a write between
    # two lines.
    there = {
        HOLD: {row[0] for row in found["holds"]},
        END: {row[0] for row in found["holds"] if "held" not in row},
        REQUEST: {row[0] for row in found["requests"]},
    }
    assert len(there[HOLD]) - len(acknowledged) <= 5  # at most the one that each kill caught between write and answer
    numbers = sorted(int(id.removeprefix("req_")) for id in there[HOLD])
    lines = [(f"req_{number:06d}", line) for number in numbers for line in whole(number)]
    assert found == expected([line for id, line in lines if id in there[line[0]]])
