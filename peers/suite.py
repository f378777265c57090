"""A part of an SDK's own tests, directly and through Posthouse: nothing may be lost.

Two comparisons: whatever passes against the strict upstream must pass through us; and what the upstream was asked must
be the same, member by member, but for what a gateway is there to change.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final, Protocol
from xml.etree import ElementTree

from msgspec import Struct

from peers import house
from peers.environment import Environment, PeerError

KEY: Final = 'os.environ["PEER_API_KEY"]'
CREDENTIAL: Final = "upstream-credential-1"
# For one file of tests.
PATIENCE: Final = 300.0
Asked = list[tuple[str, dict[str, str], dict[str, Any]]]


class Strict(Protocol):
    """An upstream that keeps (path, headers in lower case, body) of every POST, in order."""

    @property
    def url(self) -> str: ...

    @property
    def asked(self) -> Asked: ...


class Suite(Struct, frozen=True):
    """`parts` are files below tests/api_resources and what of each ("" is all of it); `key_line` says in their conftest
    which key they use; `base` is the path of their base URL; `not_theirs` are tests that fail whatever the upstream
    answers; `ours` are paths that Posthouse answers without asking anybody."""

    title: str
    package: str
    parts: tuple[tuple[str, str], ...]
    key_line: str
    base: str
    not_theirs: re.Pattern[str] | None = None
    ours: frozenset[str] = frozenset()


class Run(Struct, frozen=True):
    """Test names by outcome, and the bodies that the upstream was asked with, in order."""

    passed: frozenset[str]
    failed: dict[str, str]
    asked: list[tuple[str, dict[str, Any]]]


def compare(suite: Suite, environment: Environment, strict: Strict, settings: str, folder: Path) -> list[str]:
    """What was lost, in words; empty where nothing was. `settings` are those of the Posthouse in front of `strict`."""
    title = suite.title
    source = _unpacked(suite, environment)
    direct = _run(suite, environment, source, (strict.url, CREDENTIAL), strict)
    with house.running(settings, folder) as posthouse:
        through = _run(suite, environment, source, (posthouse.url + suite.base, posthouse.key), strict)
    leaked = [path for path, headers, _ in strict.asked if posthouse.key in str(headers)]
    print(f"{title}: direct {len(direct.passed)} passed, through Posthouse {len(through.passed)} passed", flush=True)
    problems = [
        f"{title}: {name} fails against the strict upstream itself: {why}"
        for name, why in direct.failed.items()
        if suite.not_theirs is None or not suite.not_theirs.search(name)
    ]
    lost = sorted(direct.passed - through.passed)
    problems += [f"{title}: {name} is lost: {through.failed.get(name, 'not run')}" for name in lost]
    problems += [f"{title}: our own key reached the upstream on {path}" for path in leaked]
    if lost and (log := house.end_of_log(folder)):
        problems.append(log)
    if not direct.passed:
        problems.append(f"{title}: no test was run")
    return problems + [f"{title}: {difference}" for difference in _differences(direct.asked, through.asked)]


def _unpacked(suite: Suite, environment: Environment) -> Path:
    """Their tests, with our key in place of theirs."""
    source = environment.source(suite.package)
    conftest = source / "tests" / "conftest.py"
    text = conftest.read_text()
    if suite.key_line in text:
        text = text.replace(suite.key_line, f"api_key = {KEY}")
        conftest.write_text(text)
    if KEY not in text:
        raise PeerError(f"{suite.title}: its conftest has no key where we expect one")
    return source


def _run(suite: Suite, environment: Environment, source: Path, where: tuple[str, str], strict: Strict) -> Run:
    base_url, key = where
    before = len(strict.asked)
    failed: dict[str, str] = {}
    passed: set[str] = set()
    report = environment.folder / f"{suite.package}.xml"
    for path, wanted in suite.parts:
        command = [str(environment.python), "-m", "pytest", f"tests/api_resources/{path}", "-k", wanted]
        command += ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}"]
        ours = {"TEST_API_BASE_URL": base_url, "PEER_API_KEY": key, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        done = subprocess.run(
            command,
            cwd=source,
            env={**os.environ, **ours},
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if done.returncode not in (0, 1):
            raise PeerError(f"{suite.title}: pytest could not run {path}:\n{done.stdout}{done.stderr}")
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # written by pytest, just now
            name = f"{case.get('classname')}::{case.get('name')}"
            trouble = case.find("failure") if case.find("failure") is not None else case.find("error")
            if trouble is not None:
                failed[name] = (trouble.get("message") or "")[:300]
            elif case.find("skipped") is None:
                passed.add(name)
    asked = [(path.partition("?")[0], body) for path, _, body in strict.asked[before:]]
    return Run(frozenset(passed), failed, [(path, body) for path, body in asked if path not in suite.ours])


def _differences(direct: list[tuple[str, dict[str, Any]]], through: list[tuple[str, dict[str, Any]]]) -> list[str]:
    if len(direct) != len(through):
        return [f"the upstream was asked {len(direct)} times directly, {len(through)} times through us"]
    return [
        f"request {number} was {before!r}, and through us {after!r}"
        for number, (before, after) in enumerate(zip(direct, through, strict=True))
        if (before[0], _essence(before[1])) != (after[0], _essence(after[1]))
    ]


def _essence(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what a gateway is there to change: what a stream reports of itself."""
    kept = {name: value for name, value in body.items() if name != "stream_options"}
    options = body.get("stream_options")
    if not body.get("stream"):
        return body
    named = ("include_usage", "include_obfuscation")
    rest = {name: value for name, value in (options or {}).items() if name not in named}
    return {**kept, "stream_options": rest} if rest else kept
