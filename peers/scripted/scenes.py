"""What the scripted upstream says to what it is asked: one function for each scene."""

import hashlib
import json
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from peers.scripted.model import (
    Asked,
    Break,
    Call,
    Fault,
    Gate,
    Hang,
    Refused,
    Reply,
    Silence,
    State,
    Step,
    Text,
    Thought,
    Usage,
    must,
    state_of,
)

PERSON: Final = {"name": "Ada", "age": 36}
CITIES: Final = ("Paris", "Rome")
# Longer than the heartbeat of the house, which looks once a second.
SILENCE: Final = 2.2
REFUSALS: Final[dict[str, tuple[int, str | None]]] = {
    "fail-400": (400, None),
    "fail-429": (429, "rate_limit_exceeded"),
    "fail-500": (500, None),
    "fail-503": (503, None),
}


def play(asked: Asked) -> Reply:
    """Raises Refused where the scene wants that, or where the request is not fit for the scene."""
    scene, mark = asked.cue
    if scene in REFUSALS:
        status, code = REFUSALS[scene]
        raise Refused(f"The scene {scene} refuses.", status, code)
    play_scene = SCENES.get(scene)
    must(play_scene is not None, f"there is no scene {scene!r}")
    assert play_scene is not None
    reply = play_scene(asked, mark)
    hidden = (*(() if asked.shown else (Thought,)), *(() if asked.stateful else (State,)))
    return replace(reply, steps=tuple(step for step in reply.steps if not isinstance(step, hidden)))


def _words(*steps: Step) -> Callable[[Asked, str], Reply]:
    return lambda asked, mark: Reply(steps)


def _long(asked: Asked, mark: str) -> Reply:
    return Reply((Text("On "), Text("and on")), "length")


def _history(asked: Asked, mark: str) -> Reply:
    """Who said what, so that a client sees what of its conversation came through."""
    said = "|".join(f"{turn.role}={turn.text.strip()}" for turn in asked.turns)
    return Reply((Text(said[:5]), Text(said[5:])))


def _tools(asked: Asked, mark: str) -> Reply:
    """Two calls at once; then the results, in the order of the calls."""
    must("weather" in asked.tools, f"no tool weather among {sorted(asked.tools)}")
    must("city" in asked.tools["weather"].get("properties", {}), f"weather takes no city: {asked.tools['weather']}")
    if asked.results:
        must(len(asked.results) == len(CITIES), f"{len(asked.results)} results for {len(CITIES)} calls")
        return Reply((Text("It is: "), Text(" / ".join(asked.results))))
    return Reply((Text("Let me look."), *_calls(mark)), "calls")


def _calls(mark: str) -> list[Call]:
    return [
        Call(f"call_{mark}_{number}", "weather", ('{"ci', 'ty": ', f'"{city}"}}')) for number, city in enumerate(CITIES)
    ]


def _schema(asked: Asked, mark: str) -> Reply:
    """A person, as the schema or a tool wants it."""
    text = json.dumps(PERSON)
    pieces = (text[:9], text[9:15], text[15:])
    if asked.schema is not None:
        must({"name", "age"} <= set(asked.schema.get("properties", {})), f"not the schema of a person: {asked.schema}")
        return Reply(tuple(Text(piece) for piece in pieces))
    fitting = [name for name, parameters in asked.tools.items() if "age" in parameters.get("properties", {})]
    must(fitting, "neither a schema nor a tool for a person")
    return Reply((Call(f"call_{mark}_0", fitting[0], pieces),), "calls")


def _picture(asked: Asked, mark: str) -> Reply:
    must(asked.pictures, "no picture came")
    seen = [f"{one.type} of {len(one.data)} bytes {digest(one.data)}" for one in asked.pictures]
    return Reply((Text("I see "), Text(" and ".join(seen))))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]


def _think(asked: Asked, mark: str) -> Reply:
    thoughts = (Thought("I should "), Thought("think."), State(state_of(mark)))
    return Reply((*thoughts, Text("Forty-"), Text("two.")), usage=Usage(output=12, reasoning=5))


def _recall(asked: Asked, mark: str) -> Reply:
    """Which states came back, by the marks that they were given out for."""
    return Reply((Text("States: "), Text(",".join(asked.states) or "none")))


def _thinktools(asked: Asked, mark: str) -> Reply:
    """Thoughts before calls, whose state must come back with the results wherever it was given out."""
    if asked.results:
        return Reply((Text("States: "), Text(",".join(asked.states) or "none")))
    thoughts = (Thought("I should "), Thought("look."), State(state_of(mark)))
    return Reply((*thoughts, *_calls(mark)), "calls", Usage(output=12, reasoning=5))


SCENES: Final[dict[str, Callable[[Asked, str], Reply]]] = {
    "hello": _words(Text("Hel"), Text("lo "), Text("there")),
    "gated": _words(Text("One"), Gate(), Text(" two")),
    "slow": _words(Text("One"), Silence(SILENCE), Text(" two")),
    "hang": _words(Text("One"), Hang()),
    "break": _words(Text("One"), Gate(), Break()),
    "fault": _words(Text("One"), Gate(), Fault()),
    "long": _long,
    "history": _history,
    "tools": _tools,
    "schema": _schema,
    "picture": _picture,
    "think": _think,
    "recall": _recall,
    "thinktools": _thinktools,
}
