"""What the files of deploy/ must agree with."""

import re
from pathlib import Path
from typing import Any, Final

from posthouse.settings import RoutingSettings, ServerSettings
from posthouse.settings.layers import keys_of_sections, variable_of

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "deploy"
SERVER: Final = ServerSettings()
LONGEST: Final = RoutingSettings().deadline  # seconds that one request may take
VARIABLES: Final = {variable_of(path) for path in keys_of_sections()} | {"POSTHOUSE_CONFIG"}
UID: Final = 10001
# After the drain the journal has 30 s to be written, and ends of calls nobody waits for are counted.
WRITING: Final = 60


def variables_in(text: str) -> set[str]:
    """Ours that are named somewhere in a text."""
    return set(re.findall(r"\bPOSTHOUSE_[A-Z_]*[A-Z]\b", text))


def long_enough(drain: float, patience: float) -> None:
    """A stream that runs when the server is ended can finish, and all is written before anything kills it."""
    assert drain > LONGEST
    assert patience >= drain + WRITING


def docker_seconds(text: str) -> int:
    """`12m`, `1m30s`."""
    units = {"h": 3600, "m": 60, "s": 1}
    assert re.fullmatch(r"(\d+[hms])+", text), text
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


def pairs(environment: list[dict[str, Any]]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in environment}
