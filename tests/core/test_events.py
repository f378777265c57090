"""Events: one closed union."""

from typing import get_args

import msgspec

from posthouse.core.events import Event, Failed, Finished, TextDelta, UsageReported
from posthouse.core.usage import Usage


def test_every_event_has_a_tag_of_its_own() -> None:
    tags = [member.__struct_config__.tag for member in get_args(Event)]
    assert len(set(tags)) == len(tags) >= 10


def test_events_kept_as_json_read_the_same() -> None:
    events: list[Event] = [TextDelta("a", 1), Finished("stop"), UsageReported(Usage(1)), Failed("broke", type="t")]
    assert msgspec.json.decode(msgspec.json.encode(events), type=list[Event]) == events
