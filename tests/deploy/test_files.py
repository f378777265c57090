"""Dockerfile, Compose and systemd: they parse, what they name exists, and their patience is longer than a stream."""

import configparser
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from posthouse.providers.registry import load as load_registry
from posthouse.settings import load
from tests.deploy.known import DEPLOY, ROOT, SERVER, UID, VARIABLES, docker_seconds, long_enough, variables_in
from tests.e2e.house import running

DOCKERFILE: Final = (DEPLOY / "Dockerfile").read_text()
STAGES: Final = re.split(r"^FROM ", DOCKERFILE.replace("\\\n", " "), flags=re.MULTILINE)[1:]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
BASE: Final = (ROOT / "requirements" / "base.txt").read_text()
TEXTS: Final = sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def instructions(stage: str, name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", stage, re.MULTILINE)


def environment_of(stage: str) -> dict[str, str]:
    words = [word for line in instructions(stage, "ENV") for word in shlex.split(line)]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_every_variable_of_ours_is_a_setting(path: Path) -> None:
    assert variables_in(path.read_text()) - VARIABLES == set()


# Dockerfile


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    copied = [word for line in instructions(STAGES[0], "COPY") for word in line.split()[:-1]]
    assert copied == ["requirements/base.txt", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "src"]
    assert all((ROOT / word).exists() for word in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)


def test_the_image_has_hashes_for_all_and_leaves_behind_what_builds() -> None:
    assert "--require-hashes --only-binary :all: -r requirements/base.txt" in STAGES[0]
    (gone,) = re.findall(r"uninstall --yes (.*)", STAGES[0])
    # Whatever is in the lock for the sake of building alone.
    builders = {"hatchling"} | {
        block.split("==")[0] for block in re.split(r"\n(?=\S)", BASE) if re.search(r"# via hatchling$", block)
    }
    assert set(gone.split()) == builders
    assert [line for line in instructions(STAGES[1], "COPY") if not line.startswith("--from=build")] == []


def test_the_image_runs_as_nobody_in_particular_and_ends_in_order() -> None:
    final = STAGES[1]
    assert instructions(final, "USER") == [f"{UID}:{UID}"]
    assert instructions(final, "STOPSIGNAL") == ["SIGTERM"]
    assert instructions(final, "VOLUME") == ["/data"]
    assert f"install -d -o {UID} -g {UID} -m 0700 /data" in final
    assert [json.loads(one) for one in instructions(final, "ENTRYPOINT")] == [["posthouse"]]
    assert [json.loads(one) for one in instructions(final, "CMD")] == [["serve"]]


def test_the_image_listens_where_it_says(tmp_path: Path) -> None:
    environ = {name: value for name, value in environment_of(STAGES[1]).items() if name in VARIABLES}
    server = load({}, environ, tmp_path).settings.server
    assert (server.host, server.port) == ("0.0.0.0", SERVER.port)
    assert instructions(STAGES[1], "EXPOSE") == [str(SERVER.port)]
    assert environ["POSTHOUSE_DATA"] == "/data"


def test_the_python_of_the_image_is_one_that_posthouse_supports() -> None:
    versions = re.findall(r"python:(3\.\d+)-slim", DOCKERFILE)
    assert len(versions) == 2
    assert f"Python :: {versions[0]}" in (ROOT / "pyproject.toml").read_text()
    assert len(set(versions)) == 1


def test_the_health_check_tells_a_server_from_none(tmp_path: Path) -> None:
    (check,) = re.findall(r"HEALTHCHECK .* CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    command = [sys.executable, *json.loads(check)[1:]]

    def asked(port: int) -> int:
        done = subprocess.run(command, env={"POSTHOUSE_PORT": str(port)}, capture_output=True, timeout=30, check=False)
        return done.returncode

    with running(tmp_path) as house:
        port = house.port
        assert asked(port) == 0
    assert asked(port) != 0


# Compose


def test_compose_waits_for_streams_and_for_what_it_needs() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"posthouse", "postgres", "valkey"}
    ours = services["posthouse"]
    long_enough(float(ours["environment"]["POSTHOUSE_SERVER_DRAIN_TIMEOUT"]), docker_seconds(ours["stop_grace_period"]))
    assert {name: one["condition"] for name, one in ours["depends_on"].items()} == {
        "postgres": "service_healthy",
        "valkey": "service_healthy",
    }
    assert all("healthcheck" in services[name] for name in ours["depends_on"])  # ours has the image's


def test_compose_agrees_with_the_image() -> None:
    ours = COMPOSE["services"]["posthouse"]
    build = ours["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    assert ours["ports"] == [f"127.0.0.1:{SERVER.port}:{SERVER.port}"]
    assert ours["volumes"] == ["data:/data"]
    assert ours["read_only"] is True
    assert ours["tmpfs"] == ["/tmp"]  # noqa: S108  # the container's own


def test_compose_keeps_everything_on_volumes_and_names_no_secret() -> None:
    mounted = {volume.split(":")[0] for one in COMPOSE["services"].values() for volume in one["volumes"]}
    assert mounted == set(COMPOSE["volumes"])
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    given = dict(
        line.split("=", 1) for line in (DEPLOY / "env.example").read_text().splitlines() if not line.startswith("#")
    )
    assert asked <= set(given)
    assert set(given.values()) == {""}


def test_the_settings_take_what_compose_gives(tmp_path: Path) -> None:
    environ = {
        name: value.replace("${POSTGRES_PASSWORD:?set it in deploy/.env}", "word")
        for name, value in COMPOSE["services"]["posthouse"]["environment"].items()
    }
    settings = load({}, {**environ, "POSTHOUSE_DATA": str(tmp_path)}, tmp_path).settings
    assert settings.storage.database_url is not None
    assert settings.storage.database_url.reveal() == "postgresql://posthouse:word@postgres:5432/posthouse"
    assert settings.storage.redis_url is not None
    database, user = (COMPOSE["services"]["postgres"]["environment"][name] for name in ("POSTGRES_DB", "POSTGRES_USER"))
    assert (database, user) == ("posthouse", "posthouse")


def test_the_example_names_variables_that_make_providers() -> None:
    wellknown = {variable for kind in load_registry().by_name.values() for variable in kind.env}
    named = set(re.findall(r"^#?([A-Z_]+_API_KEY)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    assert named
    assert named <= wellknown


# systemd


def unit() -> configparser.RawConfigParser:
    class Repeated(dict[str, Any]):
        """A key that comes again adds a line."""

        def __setitem__(self, key: str, value: Any) -> None:
            if isinstance(value, list) and isinstance(self.get(key), list) and value != self[key]:
                value = [*self[key], *value]
            super().__setitem__(key, value)

    parser = configparser.RawConfigParser(dict_type=Repeated, strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((DEPLOY / "systemd" / "posthouse.service").read_text())
    return parser


def test_the_unit_waits_for_streams_and_writes_in_one_place_only() -> None:
    service = unit()["Service"]
    environ = dict(line.split("=", 1) for line in service["Environment"].split("\n"))
    long_enough(float(environ["POSTHOUSE_SERVER_DRAIN_TIMEOUT"]), float(service["TimeoutStopSec"]))
    assert environ["POSTHOUSE_DATA"] == f"/var/lib/{service['StateDirectory']}"
    assert service["ProtectSystem"] == "strict"
    assert service["StateDirectoryMode"] == "0700"
    assert service["User"] == "posthouse"
    assert service["KillSignal"] == "SIGTERM"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["ExecStart"] == "/opt/posthouse/bin/posthouse serve"
