"""Layers, their order, and errors that lead to the line."""

import datetime
from collections.abc import Mapping
from pathlib import Path

import pytest

from posthouse.core.errors import ConfigError
from posthouse.settings import Folders, Loaded, ModelEntry, Secret, TimeoutSettings, load
from posthouse.settings.layers import keys_of_sections, variable_of

ADMIN_KEY = "admin-key-for-tests-0123456789abcdef"


class House:
    """A working directory and the user's folders, all under one temporary folder."""

    def __init__(self, root: Path) -> None:
        self.cwd = root / "cwd"
        self.folders = Folders(config=root / "config", data=root / "data")
        self.cwd.mkdir()
        self.folders.config.mkdir()

    def write(self, text: str, name: str = "posthouse.toml") -> Path:
        path = self.cwd / name
        path.write_text(text)
        return path

    def load(self, environ: Mapping[str, str] | None = None, cli: Mapping[str, object] | None = None) -> Loaded:
        return load(cli or {}, environ or {}, self.cwd, self.folders)

    def problems(self, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        """The lines of the ConfigError that a file of `text` causes, without the folder."""
        self.write(text)
        with pytest.raises(ConfigError) as caught:
            self.load(environ)
        return caught.value.message.replace(f"{self.cwd}/", "").splitlines()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_with_nothing_said_the_defaults_hold(house: House) -> None:
    loaded = house.load()
    assert loaded.file is None
    assert loaded.settings.server.host == "127.0.0.1"
    assert loaded.settings.server.port == 8700
    assert loaded.settings.server.body_limit == 32 * 1024 * 1024
    assert loaded.settings.storage.data == house.folders.data
    assert loaded.settings.providers == ()


def test_the_command_line_goes_before_the_environment_before_the_file_before_the_default(house: House) -> None:
    house.write("[server]\nport = 1\nhost = 'a'\nheartbeat = 1\n")
    environ = {"POSTHOUSE_PORT": "2", "POSTHOUSE_HOST": "b"}
    server = house.load(environ, {"port": 3}).settings.server
    assert (server.port, server.host, server.heartbeat, server.keep_alive) == (3, "b", 1.0, 75.0)


def test_an_option_that_was_not_given_hides_nothing(house: House) -> None:
    assert house.load({"POSTHOUSE_PORT": "2"}, {"port": None, "config": None}).settings.server.port == 2


def test_an_empty_variable_counts_as_not_set(house: House) -> None:
    assert house.load({"POSTHOUSE_PORT": ""}).settings.server.port == 8700


def test_every_key_of_a_section_can_be_set_by_its_variable(house: House) -> None:
    texts = {"storage.database_url": "postgresql://h/db", "storage.redis_url": "redis://h"}
    texts |= {"admin.key": ADMIN_KEY, "billing.unpriced": "refuse", "log.format": "text", "log.level": "debug"}
    texts |= {"idempotency.max_answer": "2048", "idempotency.max_account": "4096"}
    texts |= {"log.requests": "false", "routing.discover": "false", "server.host": "h", "server.cors_origins": "a,b"}
    texts |= {"server.trusted_proxies": "10.0.0.0/8", "limits.request_spend": "0.50", "limits.request_currency": "USD"}
    texts |= {"limits.models": '[{"name": "m", "rpm": 5}]', "limits.address": '{"rpm": 5}'}
    texts |= {"points.currency": "USD", "topup.currencies": "USD,CNY"}
    texts |= dict.fromkeys(("topup.generic_secret", "topup.stripe_secret"), "a-secret-of-the-tests")
    for path in keys_of_sections():
        name = ".".join(map(str, path))
        (explained,) = house.load(
            {variable_of(path): texts.get(name, "99999999" if name.endswith(("_limit", "_segment")) else "90")}
        ).explain(name)
        assert explained.source.layer == "environment", name
        assert explained.source.where == variable_of(path)


def test_the_long_name_of_a_variable_with_a_short_one_works_too(house: House) -> None:
    assert house.load({"POSTHOUSE_SERVER_PORT": "2"}).settings.server.port == 2
    assert house.load({"POSTHOUSE_SERVER_PORT": "2", "POSTHOUSE_PORT": "2"}).settings.server.port == 2
    with pytest.raises(ConfigError, match="POSTHOUSE_PORT sets the same thing"):
        house.load({"POSTHOUSE_SERVER_PORT": "2", "POSTHOUSE_PORT": "3"})


def test_a_list_in_a_variable_is_separated_by_commas(house: House) -> None:
    environ = {"POSTHOUSE_SERVER_CORS_ORIGINS": "https://a.example, https://b.example"}
    assert house.load(environ).settings.server.cors_origins == ("https://a.example", "https://b.example")


def test_an_unknown_variable_is_an_error_with_a_suggestion_except_those_of_tests(house: House) -> None:
    with pytest.raises(ConfigError, match=r"POSTHOUSE_LOGLEVEL: unknown variable \(did you mean POSTHOUSE_LOG_LEVEL"):
        house.load({"POSTHOUSE_LOGLEVEL": "debug", "POSTHOUSE_TEST_POSTGRES": "x", "PATH": "/bin"})
    house.load({"POSTHOUSE_TEST_POSTGRES": "x", "PATH": "/bin"})


def test_an_unknown_option_is_an_error_with_a_suggestion(house: House) -> None:
    with pytest.raises(ConfigError, match=r"--prot: prot: unknown setting \(did you mean port"):
        house.load(cli={"prot": 1})


def test_the_file_is_the_named_one_else_the_one_here_else_the_users(house: House) -> None:
    (house.folders.config / "posthouse.toml").write_text("[server]\nport = 1\n")
    assert house.load().settings.server.port == 1
    house.write("[server]\nport = 2\n")
    assert house.load().settings.server.port == 2
    house.write("[server]\nport = 3\n", "other.toml")
    assert house.load({"POSTHOUSE_CONFIG": "other.toml"}).settings.server.port == 3
    house.write("[server]\nport = 4\n", "third.toml")
    loaded = house.load({"POSTHOUSE_CONFIG": "other.toml"}, {"config": "third.toml"})
    assert loaded.settings.server.port == 4


def test_a_named_file_that_does_not_exist_is_an_error(house: House) -> None:
    with pytest.raises(ConfigError, match=r"--config: there is no file .*absent\.toml"):
        house.load(cli={"config": "absent.toml"})
    with pytest.raises(ConfigError, match="POSTHOUSE_CONFIG: there is no file"):
        house.load({"POSTHOUSE_CONFIG": "absent.toml"})


def test_a_file_that_is_no_toml_or_no_text_is_an_error_that_names_it(house: House) -> None:
    assert "posthouse.toml: is not TOML" in house.problems("[server\n")[0]
    assert "line 2" in house.problems("a = 1\na = 2\n")[0]
    (house.cwd / "posthouse.toml").write_bytes(b'a = "\xff"')
    with pytest.raises(ConfigError, match="is not UTF-8"):
        house.load()


def test_a_byte_order_mark_and_windows_line_ends_are_read(house: House) -> None:
    (house.cwd / "posthouse.toml").write_bytes(b"\xef\xbb\xbf[server]\r\n\r\nport = 5\r\n")
    loaded = house.load()
    assert loaded.settings.server.port == 5
    assert loaded.explain("server.port")[0].source.where.endswith("posthouse.toml:3")


FULL = """\
[[providers]]
name = "main"
type = "openai-compatible"
base_url = "https://upstream.example/v1/"
credential = "env:UPSTREAM_KEY"
models = ["gpt-5.6-sol", { name = "fast", upstream = "gpt-5.6-luna" }]
priority = 1
weight = 2
proxy = "socks5://user:unseen@127.0.0.1:1080"
timeout = { connect = 2 }
on_disconnect = "drain"
headers = { "X-Team" = "file:team" }
api_version = "2026-10-01"
wires = ["responses", "chat.completions"]

[[routes]]
name = "smart"
models = ["gpt-5.6-sol", "fast"]
strategy = "cheapest"
fallbacks = { context_length = ["long"], rate = [] }

[[prices]]
model = "fast"
provider = "main"
currency = "USD"
input = "0.15"
cached_input = "0.075"
output = "0.60"
effective_from = 2026-11-01
"""


def test_providers_routes_and_prices_are_read_as_the_contract_writes_them(house: House) -> None:
    (house.cwd / "team").write_text("blue\n")
    house.write(FULL)
    settings = house.load({"UPSTREAM_KEY": "upstream-credential-1"}).settings
    (provider,) = settings.providers
    assert provider.base_url == "https://upstream.example/v1"
    assert provider.credential == Secret("upstream-credential-1")
    assert provider.models == (
        ModelEntry(name="gpt-5.6-sol", upstream="gpt-5.6-sol"),
        ModelEntry(name="fast", upstream="gpt-5.6-luna"),
    )
    assert provider.timeout == TimeoutSettings(connect=2.0, first_byte=120.0, idle=60.0, total=600.0)
    assert provider.headers == {"X-Team": Secret("blue")}
    assert provider.wires == ("responses", "chat.completions")
    assert (provider.priority, provider.weight, provider.on_disconnect) == (1, 2, "drain")
    assert provider.proxy is not None and provider.proxy.reveal() == "socks5://user:unseen@127.0.0.1:1080"
    assert settings.routes[0].models == ("gpt-5.6-sol", "fast")
    assert settings.routes[0].fallbacks == {"context_length": ("long",), "rate": ()}
    assert settings.prices[0].output == "0.60"
    assert settings.prices[0].effective_from == datetime.date(2026, 11, 1)


def test_a_provider_inherits_the_timeouts_of_the_upstream_section(house: House) -> None:
    house.write('[upstream]\nidle_timeout = 9\n[[providers]]\nname = "a"\ntype = "echo"\ntimeout = { total = 70 }\n')
    loaded = house.load({"POSTHOUSE_UPSTREAM_CONNECT_TIMEOUT": "1.5"})
    assert loaded.settings.providers[0].timeout == TimeoutSettings(connect=1.5, first_byte=120, idle=9, total=70)
    sources = {item.key: str(item.source) for item in loaded.explain("providers.a.timeout")}
    assert sources["providers[0].timeout.connect"] == "POSTHOUSE_UPSTREAM_CONNECT_TIMEOUT (environment)"
    assert sources["providers[0].timeout.first_byte"] == "default"
    assert sources["providers[0].timeout.idle"].endswith("posthouse.toml:2 (file)")
    assert sources["providers[0].timeout.total"].endswith("posthouse.toml:6 (file)")


def test_no_secret_appears_in_the_settings_as_printed_or_explained(house: House) -> None:
    house.write(FULL.replace("env:UPSTREAM_KEY", "literal-secret-1").replace("file:team", "literal-secret-2"))
    environ = {"POSTHOUSE_ADMIN_KEY": ADMIN_KEY, "POSTHOUSE_DATABASE_URL": "postgresql://u:secret-3@h/db"}
    loaded = house.load(environ)
    text = repr(loaded.settings) + repr(loaded.candidates) + repr(loaded.explain()) + repr(loaded.check())
    assert "upstream.example" in text
    for secret in ("literal-secret-1", "literal-secret-2", "secret-3", ADMIN_KEY, "unseen"):
        assert secret not in text


def test_the_file_as_read_is_not_kept_where_a_repr_would_show_it(house: House) -> None:
    house.write(FULL.replace("env:UPSTREAM_KEY", "literal-secret-1").replace("file:team", "literal-secret-2"))
    assert "literal-secret" not in repr(house.load())


ROUTE = "[[routes]]\nname = 'a'\nmodels = ['b']\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\n\nprot = 1", "posthouse.toml:3: server.prot: unknown key (did you mean port?)"),
        ("[sever]\nport = 1", "posthouse.toml:1: sever: unknown key (did you mean server?)"),
        ("port = 1", "posthouse.toml:1: port: unknown key (it belongs in [server])"),
        ("[log]\nport = 1", "posthouse.toml:2: log.port: unknown key (it belongs in [server])"),
        ("server = 1", "posthouse.toml:1: server: expected a table: write [server]"),
        ('[server]\nport = "1"', "posthouse.toml:2: server.port: expected int, got str"),
        ("[server]\nport = true", "posthouse.toml:2: server.port: expected int, got bool"),
        ("[server]\nport = 70000", "posthouse.toml:2: server.port: expected int <= 65535"),
        ("[server]\nheader_timeout = 0", "posthouse.toml:2: server.header_timeout: expected float > 0.0"),
        ("[server]\nheader_timeout = nan", "posthouse.toml:2: server.header_timeout: expected a finite number"),
        ('[server]\ncors_origins = "*"', "posthouse.toml:2: server.cors_origins: expected a list, got str"),
        ("[server]\ncors_origins = ['*', 3]", "posthouse.toml:2: server.cors_origins[1]: expected str, got int"),
        ("[server]\nhost = ''", "posthouse.toml:2: server.host: expected str of length >= 1"),
        ("[log]\nlevel = 'loud'", "posthouse.toml:2: log.level: expected one of debug, info, warning, error"),
        ("[limits]\nrpm = 0", "posthouse.toml:2: limits.rpm: expected int >= 1"),
        ("[storage]\ndatabase_url = 'mysql://h'", "expected a URL that begins with postgresql:// or sqlite://"),
        ("[storage]\ndata = 3", "posthouse.toml:2: storage.data: expected str, got int"),
        ("[storage]\ndata = ''", "posthouse.toml:2: storage.data: is not a path"),
        ("[admin]\nkey = 'short'", "posthouse.toml:2: admin.key: the admin key has 5 characters"),
        ("[providers]\nname = 'a'", "posthouse.toml:1: providers: expected a list of tables: write [[providers]]"),
        ("providers = [3]", "posthouse.toml:1: providers[0]: expected a table, got int"),
        ("[[routes]]\nname = 'a'\nmodels = []", "posthouse.toml:3: routes[0].models: must not be empty"),
        ("[[routes]]\nname = 'a'", "posthouse.toml:1: routes[0]: `models` is missing"),
        (
            f"{ROUTE}fallbacks = {{ contextlength = [] }}",
            "routes[0].fallbacks.contextlength: unknown key (did you mean",
        ),
        (
            f"{ROUTE}fallbacks = {{ speed = [] }}",
            "routes[0].fallbacks.speed: unknown key; known are auth, quota, rate,",
        ),
        (f"{ROUTE}fallbacks = {{ rate = 'b' }}", "routes[0].fallbacks.rate: expected a list, got str"),
        (f"{ROUTE}fallbacks = {{ rate = ['b c'] }}", "routes[0].fallbacks.rate[0]: expected a name without spaces"),
        (f"{ROUTE}fallbacks = ['b']", "posthouse.toml:4: routes[0].fallbacks: expected a table, got a list"),
        (f"{ROUTE}strategy = 'fastest'", "expected one of priority, weighted, latency, cheapest"),
        ("[[prices]]\nmodel = 'a'\ncurrency = 'EURO'", "posthouse.toml:3: prices[0].currency: expected three capital"),
    ],
)
def test_a_setting_that_cannot_stand_is_named_with_file_line_and_key(house: House, text: str, problem: str) -> None:
    (line,) = house.problems(text)
    assert problem in line


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nmae = 'x'", "providers[0].nmae: unknown key (did you mean name?)"),
        ("weight = 0", "providers[0].weight: expected int >= 1"),
        ("weight = 0.5", "providers[0].weight: expected int, got float"),
        ("credential = 'env:ABSENT'", "providers[0].credential: the environment variable ABSENT is not set"),
        ("credential = 'file:absent'", "providers[0].credential: cannot read"),
        ("credential = 5", "providers[0].credential: expected str, got int"),
        ("credentials = []", "providers[0].credentials: must not be empty"),
        ("credentials = 'one'", "providers[0].credentials: expected a list, got str"),
        ("credentials = ['one', 'env:ABSENT']", "providers[0].credentials[1]: the environment variable ABSENT is not"),
        ("credential = 'two\\nlines'", ""),
        ('credential = "two\\nlines"', "providers[0].credential: holds a character that cannot be sent"),
        ("base_url = 'ftp://h/v1'", "providers[0].base_url: expected a URL that begins with https://"),
        ("base_url = 'https://'", "providers[0].base_url: expected a URL that begins with https://"),
        ("base_url = 'https://u:p@h/v1'", "providers[0].base_url: must not hold a user or a password"),
        ("base_url = 'https://h/v1?key=1'", "providers[0].base_url: must not have a query"),
        ("base_url = 'https://h:port/v1'", "providers[0].base_url: is not a URL"),
        ("proxy = 'ftp://h:1'", "providers[0].proxy: expected a URL that begins with http:// or socks5://"),
        ("proxy = 'socks5://h'", "providers[0].proxy: a proxy needs a host and a port"),
        ("proxy = 'http://[h'", "providers[0].proxy: is not a URL"),
        ("timeout = 5", "providers[0].timeout: expected a table, got int"),
        ("timeout = { conect = 5 }", "providers[0].timeout.conect: unknown key (did you mean connect?)"),
        ("on_disconnect = 'stop'", "providers[0].on_disconnect: expected one of abort, drain"),
        ("models = ['a', { upstream = 'b' }]", "providers[0].models[1]: `name` is missing"),
        ("models = ['a b']", "providers[0].models[0].name: expected a name without spaces"),
        ("models = 'a'", "providers[0].models: expected a list, got str"),
        ("headers = { Host = 'x' }", "providers[0].headers.Host: this header belongs to the connection"),
        ("headers = { 'X A' = 'x' }", "providers[0].headers.X A: is not a header name"),
        ("headers = 3", "providers[0].headers: expected a table, got int"),
    ],
)
def test_a_setting_of_a_provider_that_cannot_stand_is_named(house: House, line: str, problem: str) -> None:
    text = f"[[providers]]\nname = 'a'\ntype = 'echo'\n{line}\n"
    if not problem:  # a literal string of TOML knows no escapes: this one is a harmless backslash
        house.write(text)
        house.load()
        return
    (found,) = house.problems(text)
    assert problem in found
    assert found.startswith("posthouse.toml:4: ")


@pytest.mark.parametrize("name", ["", "a/b", "ü", "a b", "-a", "a" * 65, "a\\n"])
def test_a_providers_name_is_fit_for_a_header(house: House, name: str) -> None:
    (found,) = house.problems(f'[[providers]]\ntype = "echo"\nname = "{name}"\n')
    assert "posthouse.toml:3: providers[0].name: expected" in found


@pytest.mark.parametrize("amount", ["0.15", "1e3", "-1"])
def test_amounts_are_decimal_strings(house: House, amount: str) -> None:
    (found,) = house.problems(f"[[prices]]\nmodel='m'\ncurrency='USD'\ninput = {amount}\n")
    assert 'posthouse.toml:4: prices[0].input: write amounts in quotes, such as "0.15"' in found
    (found,) = house.problems("[[prices]]\nmodel='m'\ncurrency='USD'\ninput = '-1'\n")
    assert "posthouse.toml:4: prices[0].input: '-1' is not a non-negative amount" in found


def test_all_problems_are_told_at_once_also_those_that_a_higher_layer_hides(house: House) -> None:
    problems = house.problems("[server]\nport = 'x'\nhots = 1\n", {"POSTHOUSE_PORT": "1", "POSTHOUSE_LOG_LEVEL": "no"})
    assert [line.split(": ")[0] for line in problems] == ["POSTHOUSE_LOG_LEVEL", "posthouse.toml:2", "posthouse.toml:3"]


@pytest.mark.parametrize("key", ["x" * 31, "x" * 513, "x" * 40 + " y", "ключ" * 10])
def test_a_weak_or_unsendable_admin_key_is_refused_and_not_shown(house: House, key: str) -> None:
    with pytest.raises(ConfigError, match="the admin key") as caught:
        house.load({"POSTHOUSE_ADMIN_KEY": key})
    assert key not in caught.value.message


def test_relative_paths_hold_from_where_they_are_written(house: House) -> None:
    (house.cwd / "conf").mkdir()
    house.write("[storage]\ndata = 'd'\n", "conf/p.toml")
    cli = {"config": "conf/p.toml"}
    assert house.load(cli=cli).settings.storage.data == house.cwd / "conf" / "d"
    assert house.load({"POSTHOUSE_DATA": "d"}, cli).settings.storage.data == house.cwd / "d"
    assert house.load(cli={**cli, "data": Path("/x/d")}).settings.storage.data == Path("/x/d")
    assert house.load({"POSTHOUSE_DATA": "~/d", "HOME": "/home/me"}).settings.storage.data == Path("/home/me/d")


def test_the_short_name_of_the_postgresql_scheme_is_understood(house: House) -> None:
    url = house.load({"POSTHOUSE_DATABASE_URL": "postgres://h/db"}).settings.storage.database_url
    assert url is not None and url.reveal() == "postgresql://h/db"


def test_the_users_folders_are_asked_for_where_none_are_given(tmp_path: Path) -> None:
    folders = Folders.of_user()
    assert folders.config.name == folders.data.name == "posthouse"
    config = tmp_path / "p.toml"
    config.write_text("")
    assert load({"config": str(config)}, {}, tmp_path).settings.storage.data == folders.data


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("3", "prices[0].image_kinds: expected a table, got int"),
        ("{ 'a b' = '1' }", "expected a size, a quality, or both"),
        ("{ 'a/b/c' = '1' }", "expected a size, a quality, or both"),
        ("{ high = 1 }", 'prices[0].image_kinds.high: write amounts in quotes, such as "0.15"'),
        ("{ high = '-1' }", "prices[0].image_kinds.high: '-1' is not a non-negative amount"),
        ("{ " + ", ".join(f"k{number} = '1'" for number in range(65)) + " }", "has 65 kinds; it may have 64"),
    ],
)
def test_a_kind_of_image_that_cannot_stand_is_named(house: House, value: str, problem: str) -> None:
    (found,) = house.problems(f"[[prices]]\nmodel='m'\ncurrency='USD'\nimage='1'\nimage_kinds = {value}\n")
    assert problem in found
    assert found.startswith("posthouse.toml:5: ")


def test_kinds_of_images_are_read_with_their_amounts(house: House) -> None:
    kinds = "{ '1024x1536/high' = '0.25', low = '0.011', '16:9' = '0.1' }"
    house.write(f"[[prices]]\nmodel='m'\ncurrency='USD'\nimage='0.04'\nimage_kinds = {kinds}\n")
    (price,) = house.load().settings.prices
    assert price.image_kinds == {"1024x1536/high": "0.25", "low": "0.011", "16:9": "0.1"}
