"""What the modules of the clients share: where they are, and how checks are run and told.

A module ends with `run("its package", CHECKS)`. Its places come in the variable PEER_PLACES, as JSON; each check is a
function of a `Here`, run at every place that suits it, and says by an exception that something is wrong. What becomes
of it goes to standard output, a line of JSON for each.
"""

import asyncio
import faulthandler
import functools
import importlib.metadata
import json
import os
import sys
import traceback
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

# For one check; a stack is printed where it is not enough, and the run ends.
SECONDS: Final = 60.0
# Of a call of a client's, where it can be told.
TIMEOUT: Final = 25.0
DIRECT: Final = "direct"
# 8 by 8, red: a whole PNG.
PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mP4z8CAFTEMLQkAKP8/wc53yE8AAAAASUVORK5CYII="
PNG_SEEN: Final = "image/png of 74 bytes"
PERSON: Final = {"name": "Ada", "age": 36}


class Skipped(Exception):
    """The check cannot be made here, for the reason that it gives."""


@dataclass(frozen=True)
class Here:
    """A place: `wire` is "direct", or what the provider behind Posthouse speaks. `root` has no path; `upstream` is
    where the script can be asked. `model` plays every scene; `trouble` is the same at an account of its own, so that
    what fails there does no harm elsewhere; `vectors` embeds. `native`: client and provider speak the same. `near`: one
    of the places where everything is tried."""

    wire: str
    root: str
    key: str
    model: str
    trouble: str
    vectors: str
    upstream: str
    native: bool = False
    near: bool = False
    _marks: list[str] = field(default_factory=list, compare=False)

    @property
    def direct(self) -> bool:
        return self.wire == DIRECT

    def mark(self) -> str:
        """A new one for each request: of which process, which check, the how manyeth, and where. But for its last word
        it is the same at every place."""
        check, *others = self._marks
        self._marks.append(f"{os.getpid()}_{check}_{len(others)}_{self.wire.replace('.', '').replace('_', '')}")
        return self._marks[-1]

    def begin(self, check: str) -> None:
        """Marks are of this check from now on."""
        self._marks[:] = [check]

    def asked(self, mark: str) -> list[dict[str, Any]]:
        """The requests with that mark, as they came to the upstream: path, headers, body."""
        found: list[dict[str, Any]] = _get(f"{self.upstream}/control/asked/{mark}")
        return found

    def open(self, mark: str) -> None:
        _get(f"{self.upstream}/control/open/{mark}")

    def left(self, mark: str) -> bool:
        """Whether the upstream was left alone before its answer was whole; waits for that."""
        return bool(_get(f"{self.upstream}/control/left/{mark}")["left"])

    def new_key(self, wish: dict[str, Any]) -> str:
        """The secret of a new key of Posthouse's."""
        request = urllib.request.Request(  # noqa: S310  # of the house
            f"{self.root}/admin/api/keys",
            json.dumps({"name": "peer", **wish}).encode(),
            {"authorization": f"Bearer {self.key}", "content-type": "application/json"},
        )
        return str(_get(request)["key"])


def _get(request: Any) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=TIMEOUT) as answer:
        return json.load(answer)


@dataclass(frozen=True)
class Check:
    function: Callable[[Here], None]
    suits: Callable[[Here], bool]


Doing = Callable[[Here], None] | Check


def _where(function: Doing, suits: Callable[[Here], bool]) -> Check:
    if isinstance(function, Check):
        return Check(function.function, lambda here: function.suits(here) and suits(here))
    return Check(function, suits)


def through(function: Doing) -> Check:
    """Not for the upstream itself."""
    return _where(function, lambda here: not here.direct)


def near(function: Doing) -> Check:
    """Where it matters most: directly, through the same dialect, and through one other."""
    return _where(function, lambda here: here.near)


def native(function: Doing) -> Check:
    """Where the upstream speaks the client's own dialect."""
    return _where(function, lambda here: here.native)


def able(function: Doing) -> Check:
    """Not for a provider of completions, which knows nothing but text."""
    return _where(function, lambda here: here.wire != "completions")


def state_of(mark: str) -> str:
    """Opaque state as the upstream gives it out."""
    return b64encode(f"state of {mark}".encode()).decode()


def same(found: Any, wanted: Any) -> None:
    assert found == wanted, f"{found!r}, and not {wanted!r}"


def raises(kinds: Any, call: Callable[[], Any]) -> Any:
    """What the call raised, which must be one of the kinds."""
    try:
        result = call()
    except kinds as error:
        return error
    raise AssertionError(f"no exception, but {result!r:.300}")


@functools.cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def awaited(work: Coroutine[Any, Any, Any]) -> Any:
    """What it returns. In one loop for all checks, since some clients keep connections for longer than a check."""
    return _runner().run(work)


def guard() -> None:
    """Nothing in this process may speak to another machine."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        elif event == "socket.getaddrinfo":
            host = arguments[0]
        else:
            return
        if host not in ("127.0.0.1", b"127.0.0.1", "localhost", "::1", None):
            sys.stderr.write(f"reaches out to {host!r}\n")
            raise ConnectionRefusedError(f"this check may not reach {host!r}")

    sys.addaudithook(hook)


def places() -> list[Here]:
    return [Here(**place) for place in json.loads(os.environ["PEER_PLACES"])]


def run(package: str, checks: Sequence[Doing]) -> None:
    """Runs every check at every place that suits it. `package` is none where no package is tried."""
    guard()
    faulthandler.enable()
    _tell(version=importlib.metadata.version(package) if package else "")
    for here in places():
        for function in (check.function for check in map(_everywhere, checks) if check.suits(here)):
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            here.begin(function.__name__)
            outcome, why = _outcome(function, here)
            faulthandler.cancel_dump_traceback_later()
            _tell(check=function.__name__, wire=here.wire, outcome=outcome, why=why)
    _tell(end=True)


def _everywhere(check: Doing) -> Check:
    return _where(check, lambda here: True)


def _outcome(function: Callable[[Here], None], here: Here) -> tuple[str, str]:
    try:
        function(here)
    except Skipped as reason:
        return "skipped", str(reason)
    except Exception as error:  # whatever a client raises is what we are here to tell
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "peers" in frame.filename]
        line = f" (line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
        return "failed", f"{type(error).__name__}: {str(error)[:600]}{line}"
    return "passed", ""


def _tell(**members: Any) -> None:
    sys.stdout.write(json.dumps(members) + "\n")
    sys.stdout.flush()
