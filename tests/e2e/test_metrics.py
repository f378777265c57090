"""What `/metrics` says, by docs/metrics.md: tokens and units of what was asked, under the names and labels there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.answers import answers, asked, completion, fault
from tests.e2e.form_routes import File, form, sent
from tests.e2e.house import ADMIN_KEY, PRICE, Place, provider, running
from tests.e2e.upstream import Upstream, Visit
from tests.e2e.wire import request

PAGE: Final = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
ROW: Final = re.compile(r"^\| `(posthouse_\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)
# Each metric, the column of records that says the same, and how many of that make one.
UNITS: Final = {
    "images": ("images", 1),
    "audio_seconds": ("audio_ms", 1000),
    "characters": ("characters", 1),
    "searches": ("searches", 1),
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    """A house of its own for each test: what others count is not in its figures."""
    with Upstream() as upstream:
        config = provider(upstream.base_url, '"m", "draws", "speaks", "hears", "ranks", "broken"') + PRICE
        with running(tmp_path, config, {"POSTHOUSE_ROUTING_MAX_ATTEMPTS": "1"}) as house:
            upstream.scripts = {
                "m": answers(completion()),
                "draws": answers({"created": 1, "data": [{"b64_json": "aGk="}] * 2}),
                "speaks": speaks,
                "hears": answers({"text": "One", "language": "english", "duration": 2.5, "segments": []}),
                "ranks": answers({"results": [{"index": 0, "relevance_score": 0.5}]}),
                "broken": answers(fault("Out of order."), 500),
            }
            yield Place(house, upstream)


async def speaks(visit: Visit) -> None:
    await visit.whole(b"sound" * 100, extra="content-type: audio/mpeg\r\n")


def ask(here: Place, path: str, body: dict[str, Any] | bytes) -> int:
    with here.house.wire() as wire:
        if isinstance(body, bytes):
            wire.send(sent(path, body))
            return wire.response().status
        return wire.ask(path, body, ADMIN_KEY).status


def ask_all(here: Place) -> list[int]:
    fields = [("model", "hears"), ("response_format", "verbose_json")]
    return [
        ask(here, "/v1/chat/completions", asked("m")),
        ask(here, "/v1/images/generations", {"model": "draws", "prompt": "two cats", "n": 2}),
        ask(here, "/v1/audio/speech", {"model": "speaks", "input": "Hello there.", "voice": "alloy"}),
        ask(here, "/v1/audio/transcriptions", form(fields, [File("file", "a.ogg", b"sound" * 100)])),
        ask(here, "/v1/rerank", {"model": "ranks", "query": "cat", "documents": ["a cat", "a dog"]}),
        ask(here, "/v1/chat/completions", asked("broken")),
    ]


def shown(here: Place) -> dict[str, Metric]:
    with here.house.client() as client:
        text = client.get("/metrics").text
    return {family.name: family for family in text_string_to_metric_families(text)}


def amounts(family: Metric) -> dict[str, float]:
    """The values of a counter by model; all of them are of one provider."""
    found = [one for one in family.samples if one.name.endswith("_total")]
    assert {one.labels["provider"] for one in found} <= {"main"}
    return {one.labels["model"]: one.value for one in found}


def test_units_are_counted_beside_tokens(here: Place) -> None:
    assert ask_all(here) == [200, 200, 200, 200, 200, 502]
    families = shown(here)
    counted = {unit: amounts(families[f"posthouse_{unit}"]) for unit in UNITS}
    assert counted["images"] == {"draws": 2}
    assert counted["characters"] == {"speaks": len("Hello there.")}
    assert counted["searches"] == {"ranks": 1}
    assert counted["audio_seconds"].keys() == {"speaks", "hears"}
    assert counted["audio_seconds"]["hears"] == 2.5
    tokens = {
        (one.labels["model"], one.labels["direction"], one.labels["class"]): one.value
        for one in families["posthouse_tokens"].samples
        if one.name.endswith("_total")
    }
    assert (tokens["m", "input", "fresh"], tokens["m", "output", "text"]) == (11, 7)
    assert amounts(families["posthouse_cost_usd"]) == {"m": (11 * 1_000 + 7 * 10_000) / 1e9}


def test_units_are_what_the_records_say(here: Place) -> None:
    before = here.house.last_id()
    ask_all(here)
    records = [stored.record for stored in here.house.stored_since(before)]
    families = shown(here)
    for unit, (column, size) in UNITS.items():
        told = {record["model"]: record[column] / size for record in records if record[column]}
        assert amounts(families[f"posthouse_{unit}"]) == told


def test_all_that_is_shown_is_documented_and_nothing_else(here: Place) -> None:
    documented = {
        name.replace("CURRENCY", "usd"): (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(PAGE)
    }
    # Each kind of event once, so that every counter has a sample whose labels can be seen.
    ask_all(here)
    limited = here.house.new_key(limits={"rpm": 1})
    with here.house.wire() as wire:
        statuses = [wire.ask("/v1/chat/completions", asked("m"), limited).status for _ in range(2)]
    assert statuses == [200, 429]
    gate = here.upstream.gate()

    async def waits(visit: Visit) -> None:
        await gate.passed(visit)

    here.upstream.scripts["m"] = waits
    here.upstream.forget()
    with here.house.wire() as wire:
        before = here.house.last_id()
        wire.send(request("/v1/chat/completions", asked("m"), ADMIN_KEY))
        here.upstream.visit()
        wire.leave()
        here.house.only_since(before)
    families = shown(here)
    assert families.keys() == documented.keys()
    for name, (kind, labels) in documented.items():
        family = families[name]
        assert family.type == kind, name
        assert family.samples, name
        assert all(set(sample.labels) - {"le"} == labels for sample in family.samples), name
