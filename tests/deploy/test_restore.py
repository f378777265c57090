"""A backup comes back as docs/deploy.md says: everything of its moment, nothing half, and the server goes on."""

import shutil
import subprocess
from pathlib import Path

import pytest

from posthouse.storage.database import Database
from tests.deploy.known import ROOT
from tests.e2e.answers import asked
from tests.e2e.house import RunningHouse, running

CONFIG = '[[providers]]\nname = "main"\ntype = "echo"\nmodels = [{ name = "m", upstream = "echo" }]\n'


def serve(house: RunningHouse, times: int) -> None:
    with house.client() as client:
        for _ in range(times):
            assert client.post("/v1/chat/completions", json=asked()).status_code == 200


def served(folder: Path, environ: dict[str, str]) -> int:
    """How many requests are known, with a ledger that adds up; one more is served then."""
    with running(folder, CONFIG, environ) as house:
        rows = house.admin("GET", "/usage?group_by=model")["data"]
        serve(house, 1)
        house.verified()
    return int(rows[0]["requests"]) if rows else 0


def test_sqlite_comes_back_from_a_backup_made_in_service(tmp_path: Path) -> None:
    copy = tmp_path / "backup.db"
    with running(tmp_path, CONFIG) as house:
        serve(house, 2)
        assert house.house.journal.wait_applied(20)
        house.house.database.backup(copy)
        serve(house, 3)
    data = tmp_path / "data"
    shutil.copy(copy, data / "posthouse.db")
    for name in ("posthouse.db-wal", "posthouse.db-shm"):
        (data / name).unlink(missing_ok=True)
    shutil.rmtree(data / "journal")
    assert served(tmp_path, {}) == 2
    assert served(tmp_path, {}) == 3


def test_postgresql_comes_back_from_a_dump_made_in_service(tmp_path: Path, postgres_url: str) -> None:
    dumps, restores = shutil.which("pg_dump"), shutil.which("pg_restore")
    if dumps is None or restores is None:
        pytest.skip("pg_dump and pg_restore are not here")
    environ, dump = {"POSTHOUSE_DATABASE_URL": postgres_url}, tmp_path / "posthouse.dump"
    with running(tmp_path, CONFIG, environ) as house:
        serve(house, 2)
        assert house.house.journal.wait_applied(20)
        made = subprocess.run(
            [dumps, "--format", "custom", "--file", str(dump), postgres_url],
            capture_output=True,
            text=True,
            check=False,
        )
        if "server version mismatch" in made.stderr:
            pytest.skip("pg_dump is older than the server")
        assert made.returncode == 0, made.stderr
        serve(house, 3)
    database = Database(postgres_url)
    with database.write() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    database.close()
    restore = [restores, "--exit-on-error", "--no-owner", "--schema", "public", "--dbname", postgres_url, str(dump)]
    back = subprocess.run(restore, capture_output=True, text=True, check=False)
    assert back.returncode == 0, back.stderr
    shutil.rmtree(tmp_path / "data" / "journal")
    assert served(tmp_path, environ) == 2
    assert served(tmp_path, environ) == 3


def test_the_page_says_what_was_done_here() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    for word in (
        "posthouse db backup",
        "posthouse.db-wal",
        "posthouse.db-shm",
        "pg_dump --format custom",
        "pg_restore",
    ):
        assert word in page
