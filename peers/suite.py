"""A part of an SDK's own tests, directly and through Posthouse: nothing may be lost.

Two comparisons: whatever passes against the strict upstream must pass through us; and what the upstream was asked must
be the same, member by member, but for what a gateway is there to change.
"""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from xml.etree import ElementTree

from msgspec import Struct

from peers import house
from peers.environment import Environment, PeerError

KEY: Final = 'os.environ["PEER_API_KEY"]'
CREDENTIAL: Final = "upstream-credential-1"
# For one part of a suite.
PATIENCE: Final = 300.0
Asked = list[tuple[str, dict[str, str], dict[str, Any]]]


class Strict(Protocol):
    """An upstream that keeps (path, headers in lower case, body) of every POST, in order."""

    @property
    def url(self) -> str: ...

    @property
    def asked(self) -> Asked: ...


class Loss(Struct, frozen=True):
    """Tests that may be lost, with what each then says of itself and no other; `reason` is for people."""

    tests: re.Pattern[str]
    says: str
    reason: str


class Suite(Struct, frozen=True):
    """`parts` are files below tests/api_resources, with blanks between them, and what of them ("" is all of it);
    `key_line` says in their conftest which key they use; `base` is the path of their base URL; `not_theirs` are tests
    that fail whatever the upstream answers; `ours` are paths that Posthouse answers without asking anybody; `losses`
    are the exceptions; `usual` is the model that Posthouse takes where a request to that path names none."""

    title: str
    package: str
    parts: tuple[tuple[str, str], ...]
    key_line: str
    base: str
    not_theirs: re.Pattern[str] | None = None
    ours: frozenset[str] = frozenset()
    losses: tuple[Loss, ...] = ()
    usual: Mapping[str, str] = {}


class Run(Struct, frozen=True):
    """Test names by outcome, and the bodies that the upstream was asked with, in order."""

    passed: frozenset[str]
    failed: dict[str, str]
    asked: list[tuple[str, dict[str, Any]]]
    seconds: float


def compare(suite: Suite, environment: Environment, strict: Strict, settings: str, folder: Path) -> list[str]:
    """What was lost, in words; empty where nothing was. `settings` are those of the Posthouse in front of `strict`."""
    title = suite.title
    source = _unpacked(suite, environment)
    direct = _run(suite, environment, source, (strict.url, CREDENTIAL), strict)
    with house.running(settings, folder) as posthouse:
        through = _run(suite, environment, source, (posthouse.url + suite.base, posthouse.key), strict)
    leaked = [path for path, headers, _ in strict.asked if posthouse.key in str(headers)]
    allowed, lost = _sorted_out(suite, direct, through)
    told = f"direct {len(direct.passed)} passed in {direct.seconds:.1f} s"
    told += f", through Posthouse {len(through.passed)} passed in {through.seconds:.1f} s"
    print(f"{title}: {told}", flush=True)
    for loss, names in allowed.items():
        print(f"  lost, as is known: {len(names)} tests, {loss.says!r}: {loss.reason}", flush=True)
    problems = [
        f"{title}: {name} fails against the strict upstream itself: {why}"
        for name, why in direct.failed.items()
        if suite.not_theirs is None or not suite.not_theirs.search(name)
    ]
    problems += [
        f"{title}: nothing is lost any more of {loss.tests.pattern}" for loss in suite.losses if not allowed[loss]
    ]
    problems += [f"{title}: {name} is lost: {through.failed.get(name, 'not run')}" for name in lost]
    problems += [f"{title}: our own key reached the upstream on {path}" for path in leaked]
    if lost and (log := house.end_of_log(folder)):
        problems.append(log)
    if not direct.passed:
        problems.append(f"{title}: no test was run")
    named = [(path, _named(body, suite.usual.get(path))) for path, body in direct.asked]
    differences = _differences(named, through.asked, in_order=not suite.losses)
    return problems + [f"{title}: {difference}" for difference in differences]


def _sorted_out(suite: Suite, direct: Run, through: Run) -> tuple[dict[Loss, list[str]], list[str]]:
    """The tests that are lost: those of each exception, and the rest."""
    allowed: dict[Loss, list[str]] = {loss: [] for loss in suite.losses}
    rest: list[str] = []
    for name in sorted(direct.passed - through.passed):
        why = through.failed.get(name, "")
        known = next((loss for loss in suite.losses if loss.tests.search(name) and loss.says in why), None)
        (rest if known is None else allowed[known]).append(name)
    return allowed, rest


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
    began = time.monotonic()
    failed: dict[str, str] = {}
    passed: set[str] = set()
    report = environment.folder / f"{suite.package}.xml"
    for path, wanted in suite.parts:
        command = [str(environment.python), "-m", "pytest", *(f"tests/api_resources/{file}" for file in path.split())]
        command += ["-k", wanted]
        command += ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "--tb=native", f"--junitxml={report}"]
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
    seconds = time.monotonic() - began
    asked = [(path.partition("?")[0], body) for path, _, body in strict.asked[before:]]
    asked = [(path, body) for path, body in asked if path not in suite.ours]
    return Run(frozenset(passed), failed, asked, seconds)


def _differences(
    direct: list[tuple[str, dict[str, Any]]], through: list[tuple[str, dict[str, Any]]], *, in_order: bool
) -> list[str]:
    """Where tests may be lost their requests are too: then each that did come must have been asked directly as well."""
    if not in_order:
        known = [(path, _essence(body)) for path, body in direct]
        strange = [f"{path} with {body!r}" for path, body in through if (path, _essence(body)) not in known]
        return [
            f"the upstream was asked {question} through us, and never directly" for question in dict.fromkeys(strange)
        ]
    if len(direct) != len(through):
        return [f"the upstream was asked {len(direct)} times directly, {len(through)} times through us"]
    return [
        f"request {number} was {before!r}, and through us {after!r}"
        for number, (before, after) in enumerate(zip(direct, through, strict=True))
        if (before[0], _essence(before[1])) != (after[0], _essence(after[1]))
    ]


def _named(body: dict[str, Any], usual: str | None) -> dict[str, Any]:
    return {"model": usual, **body} if usual else body


def _essence(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what a gateway is there to change: what a stream reports of itself."""
    kept = {name: value for name, value in body.items() if name != "stream_options"}
    options = body.get("stream_options")
    if not body.get("stream"):
        return body
    named = ("include_usage", "include_obfuscation")
    rest = {name: value for name, value in (options or {}).items() if name not in named}
    return {**kept, "stream_options": rest} if rest else kept
