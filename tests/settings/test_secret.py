"""Secrets stay out of everything that is printed."""

import copy
import pickle
from pathlib import Path

import msgspec
import pytest

from posthouse.settings.secret import Secret, SecretUrl, mask_url, resolve

SECRET = "upstream-credential-1"


def test_a_literal_secret_appears_in_no_text_form() -> None:
    secret = Secret(SECRET)
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr([secret])):
        assert SECRET not in text
    assert secret.masked == "***"
    assert secret.reveal() == SECRET


def test_a_reference_is_shown_instead_of_the_secret_behind_it() -> None:
    assert repr(Secret(SECRET, "env:MY_KEY")) == "Secret(env:MY_KEY)"


def test_a_secret_is_neither_encoded_nor_pickled() -> None:
    with pytest.raises(TypeError):
        msgspec.json.encode({"credential": Secret(SECRET)})
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Secret(SECRET))
    with pytest.raises(TypeError):
        copy.deepcopy(Secret(SECRET))


def test_secrets_are_equal_by_value() -> None:
    assert Secret("a") == Secret("a", "env:A")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a", "env:A")}) == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p4ss@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://h/db?user=u&password=p4ss&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("redis://:p4ss@h/0", "redis://:***@h/0"),
        ("socks5://p4ss@h:1080", "socks5://***@h:1080"),
        ("postgresql://u:12/p4ss@h/db", "***"),
        ("postgresql://u:12?p4ss@h/db", "***"),
        ("postgresql://u:12#p4ss@h/db", "***"),
        ("http://[broken", "***"),
        ("p4ss", "***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert "p4ss" not in repr(SecretUrl(url))


def test_a_reference_to_a_variable_reads_it_without_the_space_around_it() -> None:
    assert resolve("env:KEY", {"KEY": f" {SECRET}\n"}, Path()) == (SECRET, "env:KEY")


def test_a_reference_to_a_file_is_read_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    assert resolve("file:key", {}, tmp_path) == (SECRET, "file:key")
    assert resolve(f"file:{tmp_path / 'key'}", {}, Path("elsewhere"))[0] == SECRET


def test_a_reference_that_leads_nowhere_says_which_and_shows_no_value(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "blank").write_text("\n")
    (tmp_path / "large").write_text("x" * 70_000)
    for text, message in [
        ("env:ABSENT", "ABSENT is not set"),
        ("env:BLANK", "BLANK is not set"),
        ("file:absent", "cannot read .*absent"),
        ("file:.", "cannot read"),
        ("file:binary", "not UTF-8"),
        ("file:blank", "is empty"),
        ("file:large", "larger than"),
        ("  ", "is empty"),
    ]:
        with pytest.raises(ValueError, match=message):
            resolve(text, {"BLANK": " "}, tmp_path)


def test_a_secret_written_where_a_variable_name_belongs_is_not_shown() -> None:
    with pytest.raises(ValueError, match="after env:") as caught:
        resolve("env:sk-made-up-secret", {}, Path())
    assert "made-up" not in str(caught.value)
