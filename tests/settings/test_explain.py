"""`config explain` and `config check`."""

from pathlib import Path

import pytest

from posthouse.core.errors import ConfigError
from posthouse.settings import Folders, Loaded, UpstreamSettings, WellKnown, credentials_from, load

PROVIDER = '[[providers]]\nname = "main"\ntype = "echo"\nmodels = ["m"]\n'


def loaded(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Loaded:
    (tmp_path / "posthouse.toml").write_text(text)
    return load({}, environ or {}, tmp_path, Folders(tmp_path / "c", tmp_path / "d"))


def found(tmp_path: Path, text: str) -> list[str]:
    """`level key: message` of every problem."""
    return [f"{p.level} {p.key}: {p.message}" for p in loaded(tmp_path, text).check()]


def test_a_key_is_explained_with_its_value_its_place_and_what_it_hides(tmp_path: Path) -> None:
    (item,) = loaded(tmp_path, "[server]\nport = 1\n", {"POSTHOUSE_PORT": "2"}).explain("server.port")
    assert (item.key, item.value, str(item.source)) == ("server.port", "2", "POSTHOUSE_PORT (environment)")
    assert [(value, str(source)) for value, source in item.hidden] == [("1", f"{tmp_path}/posthouse.toml:2 (file)")]


def test_a_section_and_everything_are_explained_key_by_key(tmp_path: Path) -> None:
    house = loaded(tmp_path, PROVIDER)
    assert {item.key for item in house.explain("log")} == {"log.format", "log.level", "log.requests"}
    assert "providers[0].name" in {item.key for item in house.explain()}
    assert house.explain("routes") == []


def test_values_are_shown_as_a_person_would_write_them(tmp_path: Path) -> None:
    shown = {item.key: item.value for item in loaded(tmp_path, "").explain()}
    assert shown["log.requests"] == "true"
    assert shown["limits.rpm"] == "(not set)"
    assert shown["server.cors_origins"] == "[*]"
    assert shown["server.keep_alive"] == "75"
    assert shown["routing.backoff_base"] == "0.5"


def test_a_provider_is_explained_by_name_and_by_number(tmp_path: Path) -> None:
    house = loaded(tmp_path, PROVIDER)
    assert house.explain("providers.main.type") == house.explain("providers[0].type")
    (item,) = house.explain("providers.main.type")
    assert (item.value, item.source.where) == ("echo", f"{tmp_path}/posthouse.toml:3")
    (item,) = house.explain("providers.main.weight")
    assert str(item.source) == "default"
    assert {item.key for item in house.explain("providers.main.models")} == {
        "providers[0].models[0].name",
        "providers[0].models[0].upstream",
    }


def test_a_price_is_explained_by_its_model_also_when_that_has_dots(tmp_path: Path) -> None:
    text = '[[prices]]\nmodel = "gpt-5.6-sol"\ncurrency = "USD"\ninput = "1"\n'
    (item,) = loaded(tmp_path, text).explain("prices.gpt-5.6-sol.input")
    assert (item.key, item.value) == ("prices[0].input", "1")


def test_an_unknown_key_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    for key, suggestion in [("server.prot", "server.port"), ("providers.mian.type", "providers"), ("servre", "")]:
        with pytest.raises(ConfigError, match=f"there is no such setting.*{suggestion}"):
            loaded(tmp_path, PROVIDER).explain(key)


def test_providers_made_by_variables_are_explained_by_them(tmp_path: Path) -> None:
    rows = [WellKnown("alpha", ("ALPHA_API_KEY",))]
    providers = credentials_from({"ALPHA_API_KEY": "upstream-credential-1"}, rows, UpstreamSettings())
    house = loaded(tmp_path, "").with_providers(providers)
    (item,) = house.explain("providers.alpha.credential")
    assert (item.value, str(item.source)) == ("env:ALPHA_API_KEY", "ALPHA_API_KEY (environment)")
    (problem,) = house.check({"beta"})
    assert problem.where == "environment"


def test_a_sound_configuration_has_no_problems(tmp_path: Path) -> None:
    text = PROVIDER + '[[routes]]\nname = "r"\nmodels = ["m"]\n[[prices]]\nmodel = "m"\ncurrency = "USD"\ninput = "1"\n'
    house = loaded(tmp_path, text)
    assert house.check({"echo"}) == []
    house.ensure({"echo"})


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (PROVIDER, "error providers[1].name: there is a provider named main already"),
        (
            '[[providers]]\nname = "b"\ntype = "t"\nmodels = ["x", "x"]',
            "error providers[1].models[1]: x is listed twice",
        ),
        (
            '[[providers]]\nname = "b"\ntype = "t"\ncredential = "x"\ncredentials = ["y"]',
            "error providers[1].credentials: stands beside credential",
        ),
        (
            '[[providers]]\nname = "b"\ntype = "t"\ncredentials = ["same", "other", "same"]',
            "error providers[1].credentials[2]: is the same as one before it",
        ),
        ('[[providers]]\nname = "b"\ntype = "t"\nmodels = []', "warning providers[1].models: is empty"),
        (
            '[[providers]]\nname = "b"\ntype = "t"\nmodels = ["x"]\ntimeout = { total = 3 }',
            "warning providers[1].timeout.total: is shorter",
        ),
        ('[[routes]]\nname = "r"\nmodels = ["mm"]', "warning routes[0].models[0]: no provider lists the model mm (did"),
        ('[[routes]]\nname = "r"\nmodels = ["m", "m"]', "error routes[0].models[1]: m is listed twice"),
        ('[[routes]]\nname = "r"\nmodels = ["r"]', "error routes[0].models[0]: r is a route"),
        ('[[routes]]\nname = "m"\nmodels = ["n"]', "warning routes[0].name: hides the model m"),
        (
            '[[routes]]\nname = "r"\nmodels = ["m"]\nfallbacks = { rate = ["n"] }',
            "warning routes[0].fallbacks.rate[0]: no provider lists the model n",
        ),
        (
            '[[routes]]\nname = "r"\nmodels = ["m"]\nfallbacks = { rate = ["r"] }',
            "error routes[0].fallbacks.rate[0]: r is a route; a route leads to models only",
        ),
        (
            '[[routes]]\nname = "r"\nmodels = ["m"]\nfallbacks = { rate = ["m", "m"] }',
            "error routes[0].fallbacks.rate[1]: m is listed twice",
        ),
        (
            '[[routes]]\nname = "r"\nmodels = ["m"]\n[[routes]]\nname = "r"\nmodels = ["m"]',
            "error routes[1].name: there is a route named r already",
        ),
        (
            '[[prices]]\nmodel = "m"\ncurrency = "USD"\ninput = "1"\nprovider = "mian"',
            "error prices[0].provider: there is no provider named mian (did you mean main?)",
        ),
        ('[[prices]]\nmodel = "m"\ncurrency = "USD"', "error prices[0]: `input` is missing"),
        ('[[prices]]\nmodel = "m"\ncurrency = "USD"\noutput = "1"', "error prices[0]: `input` is missing"),
        (
            '[[prices]]\nmodel = "m"\ncurrency = "USD"\noutput = "1"\nimage = "1"',
            "error prices[0]: `input` is missing",
        ),
        (
            '[[prices]]\nmodel = "m"\ncurrency = "USD"\nrequest = "1"\nimage_kinds = { high = "1" }',
            "error prices[0].image: is missing",
        ),
        (
            '[[prices]]\nmodel = "m"\ncurrency = "USD"\ninput = "1"\n' * 2,
            "error prices[1].model: there is a price of m",
        ),
        (
            '[[routes]]\nname = "r"\nmodels = ["m"]\n[[prices]]\nmodel = "r"\ncurrency = "USD"\ninput = "1"',
            "warning prices[0].model: r is a route",
        ),
        ("[routing]\nbackoff_base = 9", "error routing.backoff_max: is smaller"),
        ("[storage]\njournal_segment = 200_000_000", "error storage.journal_limit: must hold"),
        ("[storage]\nredis_url = 'redis://h'", "error storage.redis_url: is for servers that share a PostgreSQL"),
    ],
)
def test_settings_that_contradict_each_other_are_found(tmp_path: Path, more: str, problem: str) -> None:
    problems = found(tmp_path, f"{PROVIDER}\n{more}\n")
    assert any(line.startswith(problem) for line in problems), problems


def test_a_route_to_a_model_that_a_provider_may_offer_by_itself_is_no_problem(tmp_path: Path) -> None:
    text = '[[providers]]\nname = "a"\ntype = "t"\n[[routes]]\nname = "r"\nmodels = ["anything"]\n'
    assert found(tmp_path, text) == []


def test_an_unknown_type_of_provider_is_found_on_its_line(tmp_path: Path) -> None:
    house = loaded(tmp_path, PROVIDER)
    (problem,) = house.check({"ecko", "other"})
    assert str(problem) == (
        f"{tmp_path}/posthouse.toml:3: providers[0].type: there is no type of provider named echo (did you mean ecko?)"
    )
    with pytest.raises(ConfigError, match="no type of provider"):
        house.ensure({"ecko"})


def test_a_warning_stops_nothing(tmp_path: Path) -> None:
    loaded(tmp_path, PROVIDER + '[[routes]]\nname = "r"\nmodels = ["zz"]\n').ensure()


@pytest.mark.parametrize("unit", ["request", "image", "audio_second", "character", "search"])
def test_a_price_by_another_unit_alone_needs_no_input_price(tmp_path: Path, unit: str) -> None:
    assert found(tmp_path, PROVIDER + f'[[prices]]\nmodel = "m"\ncurrency = "USD"\n{unit} = "0.01"\n') == []


def test_a_kind_of_image_is_explained_by_its_name(tmp_path: Path) -> None:
    text = '[[prices]]\nmodel = "m"\ncurrency = "USD"\nimage = "1"\nimage_kinds = { "1024x1024/high" = "2" }\n'
    shown = {item.key: item.value for item in loaded(tmp_path, text).explain("prices.m.image_kinds")}
    assert list(shown.values()) == ["2"]
