"""Well-known variables make providers by themselves."""

import pytest

from posthouse.core.errors import ConfigError
from posthouse.settings import UpstreamSettings, WellKnown, credentials_from

ROWS = (
    WellKnown("alpha", ("ALPHA_API_KEY", "ALPHA_TOKEN"), "ALPHA_BASE_URL"),
    WellKnown("beta", ("BETA_API_KEY",)),
    WellKnown("beta-abroad", ("BETA_API_KEY",)),
    WellKnown("local", (), "LOCAL_BASE_URL"),
)


def test_a_variable_that_is_set_makes_a_provider_of_its_type() -> None:
    (provider,) = credentials_from({"ALPHA_API_KEY": "upstream-credential-1\n"}, ROWS, UpstreamSettings())
    assert (provider.name, provider.type, provider.base_url, provider.models) == ("alpha", "alpha", None, None)
    assert provider.credential is not None
    assert provider.credential.reveal() == "upstream-credential-1"
    assert repr(provider.credential) == "Secret(env:ALPHA_API_KEY)"


def test_a_second_name_of_the_variable_does_as_well_and_the_first_goes_before_it() -> None:
    (provider,) = credentials_from({"ALPHA_TOKEN": "two"}, ROWS, UpstreamSettings())
    assert provider.credential is not None and provider.credential.reveal() == "two"
    (provider,) = credentials_from({"ALPHA_TOKEN": "two", "ALPHA_API_KEY": "one"}, ROWS, UpstreamSettings())
    assert provider.credential is not None and provider.credential.reveal() == "one"


def test_the_base_url_beside_the_credential_is_taken() -> None:
    environ = {"ALPHA_API_KEY": "one", "ALPHA_BASE_URL": "http://127.0.0.1:9/v1/"}
    (provider,) = credentials_from(environ, ROWS, UpstreamSettings())
    assert provider.base_url == "http://127.0.0.1:9/v1"


def test_one_variable_makes_one_provider() -> None:
    providers = credentials_from({"BETA_API_KEY": "b", "ALPHA_API_KEY": "a"}, ROWS, UpstreamSettings())
    assert [provider.name for provider in providers] == ["alpha", "beta"]


def test_no_variable_or_an_empty_one_makes_none() -> None:
    assert credentials_from({"ALPHA_API_KEY": " ", "LOCAL_BASE_URL": "http://h"}, ROWS, UpstreamSettings()) == ()


def test_the_timeouts_are_those_of_the_upstream_section() -> None:
    (provider,) = credentials_from({"BETA_API_KEY": "b"}, ROWS, UpstreamSettings(connect_timeout=1.0))
    assert (provider.timeout.connect, provider.timeout.total) == (1.0, 600.0)


def test_a_variable_that_cannot_be_a_credential_or_a_url_is_named_and_not_shown() -> None:
    environ = {"ALPHA_API_KEY": "se\x01cret", "ALPHA_BASE_URL": "ftp://x"}
    with pytest.raises(ConfigError) as caught:
        credentials_from(environ, ROWS, UpstreamSettings())
    assert "ALPHA_API_KEY" in caught.value.message
    assert "ALPHA_BASE_URL" in caught.value.message
    assert "cret" not in caught.value.message


def test_a_provider_that_needs_no_credential_is_made_by_its_address_alone() -> None:
    rows = (WellKnown("local", ("LOCAL_API_KEY",), "LOCAL_BASE_URL", True), ROWS[0])
    (provider,) = credentials_from({"LOCAL_BASE_URL": "http://127.0.0.1:8000/v1/"}, rows, UpstreamSettings())
    assert (provider.type, provider.base_url, provider.credential) == ("local", "http://127.0.0.1:8000/v1", None)
    assert credentials_from({}, rows, UpstreamSettings()) == ()
