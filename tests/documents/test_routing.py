"""docs/routing.md: its examples are sound configurations, and it tells of everything that a route may say."""

import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from posthouse.accounts.model import NewKey
from posthouse.accounts.rules import check_new_key
from posthouse.core.errors import FAILOVER_KINDS, RETRY_KINDS, FailureKind, InvalidRequest
from posthouse.gateway.configuration import is_hot
from posthouse.gateway.explain import Outcome
from posthouse.providers.registry import load as load_registry
from posthouse.routing.decision import PassedOver
from posthouse.routing.health import OF_CREDENTIAL
from posthouse.routing.model import RoutingOptions
from posthouse.settings import Folders, Loaded, RouteSettings, load
from posthouse.settings.layers import SECTIONS, TABLES, keys_of_sections
from tests.routing.rig import Deployed, Rig, now, run

PAGE: Final = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")
EXAMPLES: Final = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def part(heading: str) -> str:
    return PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    lines = [line for line in part(heading).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def example(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    (folder / "posthouse.toml").write_text(text)
    return load({}, environ or {}, folder, Folders(folder / "c", folder / "d"))


def field(kind: type[msgspec.Struct], name: str) -> Any:
    (found,) = [one.type for one in msgspec.structs.fields(kind) if one.name == name]
    return found


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_a_sound_configuration(tmp_path: Path, text: str) -> None:
    environ = {name: f"upstream-credential-{name}" for name in re.findall(r'"env:(\w+)"', text)}
    for name in re.findall(r'"file:([\w.-]+)"', text):
        (tmp_path / name).write_text(f"upstream-credential-{name}")
    problems = example(tmp_path, text, environ).check(load_registry().by_name)
    assert [str(problem) for problem in problems if problem.level == "error"] == []


def test_every_strategy_is_told_of() -> None:
    told = [row[0].strip("`") for row in rows("Strategies")]
    assert told == list(typing.get_args(field(RouteSettings, "strategy")))


def test_every_kind_of_failure_is_told_of_and_what_becomes_of_it() -> None:
    def fate(kind: FailureKind) -> str:
        if kind not in FAILOVER_KINDS:
            return "Told to the client."
        return f"The next deployment{'; in the end the same one again' if kind in RETRY_KINDS else ''}."

    told = {row[0].strip("`"): row[2] for row in rows("Fallbacks")}
    assert told == {kind: fate(kind) for kind in typing.get_args(FailureKind)}


def test_what_cools_is_told_as_it_is() -> None:
    async def times(kind: FailureKind) -> tuple[str, str]:
        rig = Rig(Deployed("main"), options=RoutingOptions(cooldown=7.0))
        for cools in ("At once.", "After two in a row.", "After three in a row."):
            rig.fail("main/m", kind)
            for trouble in rig.router.health.report(now()).values():
                if trouble.state == "cooling":
                    return cools, f"{trouble.seconds:g}"
        return "Never.", ""

    words = {"60 s.": "60", "What the provider asks for, else `routing.cooldown`.": "7", "`routing.cooldown`.": "7"}
    told = {
        kind: (row[1], words.get(row[2], row[2]))
        for row in rows("Cool-downs and probes")
        for kind in re.findall(r"`(\w+)`", row[0])
    }
    assert told == {kind: run(times(kind)) for kind in typing.get_args(FailureKind)}


def test_the_failures_that_are_one_credential_s_own_are_told_of() -> None:
    first = part("Several credentials").partition("fails with ")[2].partition(" (")[0]
    assert sorted(re.findall(r"`(\w+)`", first)) == sorted(OF_CREDENTIAL)


def test_what_a_reload_does_not_bring_into_force_is_told_of() -> None:
    told = part("Reload").rpartition("\n\n")[2]
    sections = {name for name in SECTIONS if f"`[{name}]`" in told.partition("` of `[upstream]`")[0]}
    cold = {(str(section), str(key)) for section, key in keys_of_sections() if not is_hot(f"{section}.{key}")}
    whole = {section for section, _ in cold if all(not is_hot(f"{section}.{key}") for key in keys_in(section))}
    assert sections == whole
    single = {key for section, key in cold if section not in whole}
    assert {key for key in single if f"`{key}`" in told} == single == {"max_connections", "keep_alive"}
    assert all(is_hot(table) for table in TABLES)


def keys_in(section: str) -> list[str]:
    return [str(key) for name, key in keys_of_sections() if name == section]


def test_every_outcome_and_every_reason_to_pass_over_is_told_of() -> None:
    told = [row[0].strip("`") for row in rows("Explain") if row[0].startswith("`")]
    assert told == [*typing.get_args(Outcome), *typing.get_args(PassedOver)]


def test_what_defaults_cannot_say_is_told_of() -> None:
    told = part("What a key wants")
    first = told.rpartition(" cannot have defaults")[0].rpartition("sent them all. ")[2]
    for name in re.findall(r"`(\w+)`", first):
        with pytest.raises(InvalidRequest, match="only the client"):
            check_new_key(NewKey(name="k", defaults={name: 1}), 0.0)
    for operation in ("chat.completions", "responses", "messages", "completions"):
        assert f"`{operation}`" in told
