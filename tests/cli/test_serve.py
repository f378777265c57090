"""`posthouse serve` as a process: its greeting, its end, and what it says where it cannot start."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from posthouse.cli.sockets import bound
from posthouse.core.errors import ConfigError
from tests.cli.conftest import CONFIG

COMMAND = [sys.executable, "-c", "from posthouse.cli import main; main()"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    source = Path(__file__).parents[2] / "src"
    ours = {"XDG_CONFIG_HOME": tmp_path, "PYTHONPATH": source, "POSTHOUSE_DATA": tmp_path / "data"}
    return kept | {name: str(path) for name, path in ours.items()}


@pytest.fixture
def served(tmp_path: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "posthouse.toml").write_text(CONFIG)
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def greeting_of(served: subprocess.Popen[str]) -> str:
    assert served.stdout is not None
    greeting = ""
    while "A key for an application" not in greeting:
        line = served.stdout.readline()
        assert line, "it ended before it greeted"
        greeting += line
    return greeting


def run(folder: Path, environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_it_greets_with_an_admin_key_that_works_and_ends_with_0(served: subprocess.Popen[str]) -> None:
    greeting = greeting_of(served)
    base = re.search(r"is up: (http://\S+)", greeting)
    key = re.search(r"keep it\): (sk-ph-\S+)", greeting)
    assert base is not None
    assert key is not None
    headers = {"authorization": f"Bearer {key[1]}"}
    assert httpx2.get(f"{base[1]}/v1/models", headers=headers, trust_env=False).status_code == 200
    served.send_signal(signal.SIGTERM)
    assert served.wait(30) == 0


def test_without_configuration_the_call_to_try_names_the_model_that_answers(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    alone = {"POSTHOUSE_ROUTING_DISCOVER": "false"}
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"], cwd=tmp_path, env=environ | alone, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert '"model": "echo"' in greeting_of(process)
        finally:
            process.terminate()


def test_a_mistake_in_the_settings_is_told_and_is_1(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "posthouse.toml").write_text(CONFIG.replace('"echo"', '"ehco"'))
    done = run(tmp_path, environ, "serve", "--port", "0")
    assert done.returncode == 1
    assert "posthouse.toml:4: providers[0].type: there is no type of provider named ehco" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_told_and_is_1(tmp_path: Path, environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run(tmp_path, environ, "serve", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"posthouse: the port {port} on 127.0.0.1 is taken")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("words", [["serve", "--nope"], ["nope"], ["serve", "--port", "x"], []])
def test_bad_use_is_2(tmp_path: Path, environ: dict[str, str], words: list[str]) -> None:
    assert run(tmp_path, environ, *words).returncode == 2


def test_a_name_with_two_addresses_gets_a_socket_for_each_on_one_port() -> None:
    sockets = bound("localhost", 0)
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize(("host", "said"), [("203.0.113.7", "this machine"), ("nowhere.invalid", "no address")])
def test_an_address_that_is_not_ours_is_told(host: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        bound(host, 0)
