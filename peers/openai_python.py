"""The part of openai-python's own tests that is about our routes, directly and through Posthouse: nothing may be lost.

Two comparisons: whatever passes against the strict upstream must pass through us; and what the upstream was asked must
be the same, member by member, but for what a gateway is there to change.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from msgspec import Struct

from peers import house, upstream
from peers.environment import Environment, PeerError

# (file below tests/api_resources, what of it). Stored completions (retrieve, list, ...) are not ours yet.
PARTS: Final = (
    ("chat/test_completions.py", "create"),
    ("test_embeddings.py", "create"),
    ("test_models.py", "list or retrieve"),
)
# They fail against OpenAI's own answers too: the SDK asks for base64 by itself, and its strict validation, which only
# its tests switch on, wants the floats that it decodes afterwards.
NOT_THEIRS: Final = re.compile(r"test_embeddings.*\[(strict|aiohttp)\]$")
KEY_LINE: Final = 'api_key = "My API Key"'


class Run(Struct, frozen=True):
    """Test names by outcome, and the bodies that the upstream was asked with, in order."""

    passed: frozenset[str]
    failed: dict[str, str]
    asked: list[tuple[str, dict[str, Any]]]


def run(environment: Environment, folder: Path) -> list[str]:
    """What was lost, in words; empty where nothing was."""
    suite = _suite(environment)
    with upstream.running() as strict:
        direct = _run(environment, suite, (strict.url, "upstream-credential-1"), folder / "direct.xml", strict)
        models = [upstream.CHAT_MODEL, upstream.EMBEDDING_MODEL]
        with house.running(strict.url, models, folder) as posthouse:
            through = _run(environment, suite, (posthouse.url + "/v1", posthouse.key), folder / "through.xml", strict)
        leaked = [path for path, headers, _ in strict.asked if posthouse.key in str(headers)]
    print(f"openai-python: direct {len(direct.passed)} passed, through Posthouse {len(through.passed)} passed")
    problems = [
        f"openai-python: {name} fails against the strict upstream itself"
        for name in direct.failed
        if not NOT_THEIRS.search(name)
    ]
    lost = sorted(direct.passed - through.passed)
    problems += [f"openai-python: {name} is lost: {through.failed.get(name, 'not run')}" for name in lost]
    problems += [f"openai-python: our own key reached the upstream on {path}" for path in leaked]
    if lost:
        log = (folder / house.LOG).read_text(errors="replace").splitlines()
        problems.append("the end of Posthouse's log:\n" + "\n".join(log[-60:]))
    if not direct.passed:
        problems.append("openai-python: no test was run")
    return problems + _compared(direct.asked, through.asked)


def _suite(environment: Environment) -> Path:
    """Their tests, with our key in place of theirs."""
    source = environment.source("openai")
    conftest = source / "tests" / "conftest.py"
    text = conftest.read_text()
    if KEY_LINE in text:
        text = text.replace(KEY_LINE, 'api_key = os.environ["PEER_API_KEY"]')
        conftest.write_text(text)
    if "PEER_API_KEY" not in text:
        raise PeerError("openai-python: its conftest has no key where we expect one")
    return source


def _run(environment: Environment, suite: Path, where: tuple[str, str], report: Path, strict: upstream.Upstream) -> Run:
    base_url, key = where
    before = len(strict.asked)
    failed: dict[str, str] = {}
    passed: set[str] = set()
    for path, wanted in PARTS:
        command = [str(environment.python), "-m", "pytest", f"tests/api_resources/{path}", "-k", wanted]
        command += ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}"]
        variables = {
            "TEST_API_BASE_URL": base_url,
            "PEER_API_KEY": key,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        done = subprocess.run(
            command, cwd=suite, env={**os.environ, **variables}, check=False, capture_output=True, text=True
        )
        if done.returncode not in (0, 1):
            raise PeerError(f"openai-python: pytest could not run {path}:\n{done.stdout}{done.stderr}")
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # written by pytest, just now
            name = f"{case.get('classname')}::{case.get('name')}"
            trouble = case.find("failure") if case.find("failure") is not None else case.find("error")
            if trouble is not None:
                failed[name] = (trouble.get("message") or "")[:300]
            elif case.find("skipped") is None:
                passed.add(name)
    return Run(frozenset(passed), failed, [(path, body) for path, _, body in strict.asked[before:]])


def _compared(direct: list[tuple[str, dict[str, Any]]], through: list[tuple[str, dict[str, Any]]]) -> list[str]:
    if len(direct) != len(through):
        return [f"openai-python: the upstream was asked {len(direct)} times directly, {len(through)} times through us"]
    problems = []
    for number, (before, after) in enumerate(zip(direct, through, strict=True)):
        if (before[0], _essence(before[1])) != (after[0], _essence(after[1])):
            problems.append(f"openai-python: request {number} was {before!r}, and through us {after!r}")
    return problems


def _essence(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what a gateway is there to change: what a stream reports of itself."""
    kept = {name: value for name, value in body.items() if name != "stream_options"}
    options = body.get("stream_options")
    if not body.get("stream"):
        return body
    named = ("include_usage", "include_obfuscation")
    rest = {name: value for name, value in (options or {}).items() if name not in named}
    return {**kept, "stream_options": rest} if rest else kept
