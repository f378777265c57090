"""`posthouse doctor`: it finds what is wrong, says what to do, and changes nothing."""

import socket
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli import machine, premises
from posthouse.settings import Folders, ServerSettings, Settings, load
from posthouse.storage.database import Database
from tests.cli.conftest import CONFIG, Shell
from tests.e2e.house import running

DEAD = """
[[providers]]
name = "a"
type = "openai"
base_url = "http://127.0.0.1:9/v1"
credential = "upstream-credential-1"
"""


def findings(shell: Shell, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """By check; of several the worst."""
    order = ["ok", "warn", "fail"]
    found: dict[str, dict[str, Any]] = {}
    for row in shell.rows("doctor", *words, code=code):
        if row["check"] not in found or order.index(row["status"]) > order.index(found[row["check"]]["status"]):
            found[row["check"]] = row
    return found


@pytest.fixture
def free_port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    monkeypatch.setenv("POSTHOUSE_PORT", str(port))
    return port


def settings_of(folder: Path, **environ: str) -> Settings:
    return load({"data": str(folder / "data")}, environ, folder, Folders(folder, folder)).settings


def test_a_fresh_installation_is_well_and_stays_untouched(shell: Shell, free_port: int) -> None:
    found = findings(shell)
    assert {row["check"] for row in found.values() if row["status"] == "fail"} == set()
    assert found["provider"]["detail"].startswith("main: answers in")
    assert "will be made" in found["database"]["detail"]
    assert str(free_port) in found["port"]["detail"]
    assert not shell.data.exists()


def test_every_finding_that_is_not_ok_has_a_remedy(shell: Shell, free_port: int) -> None:
    shell.config.write_text(DEAD)
    rows = shell.rows("doctor", code=1)
    assert all(row["remedy"] for row in rows if row["status"] != "ok")
    (row,) = [row for row in rows if row["status"] == "fail"]
    assert row["check"] == "provider"
    printed = shell.run("doctor", code=1).stdout
    assert f"-> {row['remedy']}" in printed


def test_offline_asks_nobody(shell: Shell, free_port: int) -> None:
    shell.config.write_text(DEAD)
    assert findings(shell, "--offline")["provider"]["detail"] == "a: configured, not asked"


def test_a_provider_without_a_credential_is_found(shell: Shell, free_port: int) -> None:
    shell.config.write_text("[[providers]]\nname = 'a'\ntype = 'openai'\n")
    assert "credential" in findings(shell, "--offline", code=1)["providers"]["detail"]


def test_nothing_configured_is_a_warning(shell: Shell, free_port: int) -> None:
    shell.config.write_text("[routing]\ndiscover = false\n")
    assert findings(shell)["providers"]["status"] == "warn"


def test_mistakes_in_the_configuration_are_found(shell: Shell, free_port: int) -> None:
    shell.config.write_text("[server]\nprot = 1\n")
    assert "server.prot" in findings(shell, code=1)["configuration"]["detail"]
    shell.config.write_text(CONFIG + CONFIG)
    assert "already" in findings(shell, code=1)["configuration"]["detail"]


def test_a_running_server_and_its_port_are_recognised(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(shell.folder, CONFIG) as house:
        monkeypatch.setenv("POSTHOUSE_PORT", str(house.port))
        found = findings(shell)
        assert found["port"]["detail"] == f"127.0.0.1:{house.port} is served by Posthouse"
        assert "one is running" in found["server"]["detail"]
    assert "none is running" in findings(shell)["server"]["detail"]


def test_a_port_that_is_taken_by_another_program_fails(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.1)
        server = ServerSettings(host="127.0.0.1", port=other.getsockname()[1])
        finding = premises.port(server)
    assert finding.status == "fail"
    assert "--port" in (finding.remedy or "")


@pytest.mark.parametrize("host", ["203.0.113.7", "nowhere.invalid"])
def test_an_address_that_is_not_ours_fails(host: str) -> None:
    assert premises.port(ServerSettings(host=host, port=8700)).status == "fail"


def test_a_journal_that_was_left_behind_and_refused_records_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "journal"
    folder.mkdir(parents=True)
    (folder / "000000000001.journal").write_bytes(b"x" * 10)
    (folder / "rejected").write_text("line")
    server, left, refused = premises.journal(settings_of(tmp_path))
    assert (server.status, left.status, refused.status) == ("ok", "warn", "fail")


def test_a_data_folder_that_cannot_be_used_fails(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    assert [finding.status for finding in premises.data_folder(settings_of(tmp_path))] == ["fail"]


def test_a_data_folder_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    first = next(iter(premises.data_folder(settings_of(tmp_path))))
    assert first.status == "warn"
    assert "chmod 700" in (first.remedy or "")


def test_a_database_is_looked_at_and_not_made(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert premises.database(settings).status == "ok"
    assert not settings.storage.data.exists()
    database = Database(f"sqlite:///{settings.storage.data / 'posthouse.db'}")
    database.upgrade()
    assert premises.database(settings).status == "ok"
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'of-the-future'")
    database.close()
    assert premises.database(settings).status == "fail"


def test_a_database_server_that_does_not_answer_fails_without_showing_its_password(tmp_path: Path) -> None:
    url = "postgresql://user:secret-word@127.0.0.1:9/none"
    finding = premises.database(settings_of(tmp_path, POSTHOUSE_DATABASE_URL=url))
    assert finding.status == "fail"
    assert "secret-word" not in finding.detail


def test_this_machine_has_what_it_needs() -> None:
    for check in (machine.python, machine.libraries, machine.trust_store, machine.clock, machine.open_files):
        assert check().status in ("ok", "warn"), check


def test_a_trust_store_without_authorities_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.pem").write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert machine.trust_store().status == "fail"
