"""What the scripted upstream is asked and what it says, in no dialect."""

import json
import re
from base64 import b64decode, b64encode
from typing import Any, Final, Literal

from msgspec import Struct

CREDENTIAL: Final = "upstream-credential-1"
STATE: Final = "state of "
Finish = Literal["stop", "length", "calls"]
_CUE: Final = re.compile(r"\[([a-z]+(?:-[a-z0-9]+)?):([0-9a-z_]+)\]")


class Refused(Exception):
    """The request is not one that the real API would take."""

    def __init__(self, message: str, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code


class Picture(Struct, frozen=True):
    type: str
    data: bytes


class Turn(Struct, frozen=True):
    """Words of one speaker; `role` is system, user or assistant."""

    role: str
    text: str


class Asked(Struct, kw_only=True):
    """A request. `results` are those after the user's last words, in order; `states` the marks of all opaque states
    that came back; `tools` the parameters of each tool by its name; `forced` the tool that must be called, "*" for any
    of them; `schema` what the answer must look like; `shown` whether thoughts are to be told, `stateful` whether their
    state is; `usage` whether a stream shall tell its usage. `id` is given to the answer."""

    wire: str
    model: str
    stream: bool = False
    turns: list[Turn]
    results: list[str]
    pictures: list[Picture]
    states: list[str]
    tools: dict[str, dict[str, Any]]
    forced: str | None = None
    schema: dict[str, Any] | None = None
    shown: bool = True
    stateful: bool = True
    usage: bool = True
    id: str = "peer"

    @property
    def cue(self) -> tuple[str, str]:
        """Scene and mark: the last that a user has given."""
        return cue_of("\n".join(turn.text for turn in self.turns if turn.role == "user"))


def cue_of(text: str) -> tuple[str, str]:
    found = _CUE.findall(text)
    return found[-1] if found else ("hello", "")


class Text(Struct, frozen=True):
    text: str


class Thought(Struct, frozen=True):
    text: str


class State(Struct, frozen=True):
    """Closes the thoughts before it."""

    data: str


class Call(Struct, frozen=True):
    """`pieces` of the arguments, which are JSON when joined."""

    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class Gate(Struct, frozen=True):
    """Nothing follows before the client opens it."""


class Silence(Struct, frozen=True):
    seconds: float


class Hang(Struct, frozen=True):
    """Nothing follows: waits until the other side leaves."""


class Break(Struct, frozen=True):
    """The connection ends here."""


class Fault(Struct, frozen=True):
    """An error, in the middle of a stream."""


Said = Text | Thought | State | Call
Step = Said | Gate | Silence | Hang | Break | Fault


class Usage(Struct, frozen=True):
    """`cached` is a part of `input`, `reasoning` of `output`."""

    input: int = 20
    cached: int = 4
    output: int = 7
    reasoning: int = 0


class Reply(Struct, frozen=True):
    steps: tuple[Step, ...]
    finish: Finish = "stop"
    usage: Usage = Usage()

    @property
    def said(self) -> list[Said]:
        return [step for step in self.steps if isinstance(step, Said)]


def must(holds: object, message: str) -> None:
    if not holds:
        raise Refused(message)


def known(members: dict[str, Any], names: frozenset[str], where: str) -> None:
    """As the APIs do that refuse members which they do not know."""
    strange = sorted(set(members) - names)
    must(not strange, f"{where}: unknown members {strange}")


def parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Refused(f"{where} is not JSON: {text[:100]!r}") from None


def object_of(value: Any, where: str) -> dict[str, Any]:
    must(isinstance(value, dict), f"{where} must be an object, not {value!r:.100}")
    result: dict[str, Any] = value
    return result


def list_of(value: Any, where: str) -> list[Any]:
    must(isinstance(value, list), f"{where} must be a list, not {value!r:.100}")
    result: list[Any] = value
    return result


def text_of(value: Any, where: str) -> str:
    must(isinstance(value, str), f"{where} must be a string, not {value!r:.100}")
    return str(value)


def event(data: dict[str, Any], name: str | None = None) -> bytes:
    """A server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def mark_of(state: Any, where: str) -> str:
    """The mark that a state was given out for. Raises Refused where it is none of ours, as the APIs do."""
    try:
        text = b64decode(text_of(state, where), validate=True).decode()
    except ValueError:
        text = ""
    must(text.startswith(STATE), f"{where} was not made here: {state!r:.80}")
    return text.removeprefix(STATE)


def state_of(mark: str) -> str:
    """The opaque state that the upstream gives out for a mark: base64, as all that is opaque on these wires."""
    return b64encode(f"{STATE}{mark}".encode()).decode()


def data_url(url: str, where: str) -> Picture:
    found = re.fullmatch(r"data:([a-z]+/[a-z0-9.+-]+);base64,(.+)", url, re.DOTALL)
    must(found is not None, f"{where} is no data URL: {url[:80]!r}")
    assert found is not None
    return Picture(found[1], base64_of(found[2], where))


def base64_of(text: Any, where: str) -> bytes:
    try:
        return b64decode(text_of(text, where), validate=True)
    except ValueError:
        raise Refused(f"{where} is not base64") from None
