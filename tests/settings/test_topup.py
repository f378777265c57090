"""Points and payments by webhook, as they may be set."""

from pathlib import Path

import pytest

from posthouse.core.errors import ConfigError
from posthouse.settings import Folders, Loaded, load

SECRET = "a-secret-of-the-tests"


def loaded(folder: Path, text: str) -> Loaded:
    (folder / "posthouse.toml").write_text(text)
    found = load({}, {}, folder, Folders(folder / "c", folder / "d"))
    found.ensure()
    return found


@pytest.mark.parametrize("per_unit", [1, 2, 100, 500_000, 1_000_000_000])
def test_a_point_is_a_whole_number_of_nano_units(tmp_path: Path, per_unit: int) -> None:
    found = loaded(tmp_path, f'[points]\nname = "积分"\ncurrency = "CNY"\nper_unit = {per_unit}')
    assert (found.settings.points.per_unit, found.settings.points.name) == (per_unit, "积分")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('currency = "USD"', "points.per_unit"),
        ("per_unit = 100", "points.per_unit"),
        ('currency = "USD"\nper_unit = 3', "points.per_unit"),
        ('currency = "USD"\nper_unit = 600000', "points.per_unit"),
        ('currency = "USD"\nper_unit = 0', "points.per_unit"),
        ('currency = "USD"\nper_unit = -100', "points.per_unit"),
        ('currency = "USD"\nper_unit = 0.5', "points.per_unit"),
        ('currency = "usd"\nper_unit = 100', "points.currency"),
    ],
)
def test_points_that_are_no_exact_part_of_a_currency_are_refused(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        loaded(tmp_path, f"[points]\n{text}")


@pytest.mark.parametrize("text", ['""', '"  "'])
def test_an_empty_secret_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    topup = loaded(tmp_path, f"[topup]\ngeneric_secret = {text}").settings.topup
    assert topup.generic_secret is not None
    assert topup.generic_secret.reveal() == ""
    assert topup.stripe_secret is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('generic_secret = "too-short"', "topup.generic_secret"),
        ('stripe_secret = "env:NOT_SET"', "topup.stripe_secret"),
        ('generic_secret = "file:not-there"', "topup.generic_secret"),
        ("tolerance = 0", "topup.tolerance"),
        ('maximum = "0"', "topup.maximum"),
        ('minimum = "5"\nmaximum = "4.99"', "topup.maximum"),
        ('maximum = "5"\namounts = ["5.01"]', "topup.amounts"),
        ('amounts = ["0"]', "topup.amounts"),
        ("amounts = [5]", "topup.amounts"),
        ('currencies = ["usd"]', "topup.currencies"),
    ],
)
def test_what_lets_no_payment_pass_safely_is_refused(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        loaded(tmp_path, f"[topup]\n{text}")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    found = loaded(tmp_path, f'[topup]\ngeneric_secret = "{SECRET}"\nstripe_secret = "{SECRET}"')
    assert SECRET not in repr(found.settings)
    assert all(SECRET not in one.value for one in found.explain())
