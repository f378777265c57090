"""The admin key, on SQLite and on PostgreSQL: made once, kept as a hash, replaced everywhere."""

import pytest
from sqlalchemy import select

from posthouse.accounts.model import NewAccount, NewKey
from posthouse.accounts.service import Directory
from posthouse.core.errors import ConfigError
from posthouse.storage.database import Database
from posthouse.storage.tables import meta
from tests.accounts.conftest import Open, is_known

ADMIN_KEY = "admin-key-for-tests-0123456789abcdef"


def test_the_first_start_makes_an_admin_key_and_keeps_its_hash_only(opened: Open, database: Database) -> None:
    directory = opened()
    made = directory.ensure_admin_key(None)
    assert made is not None and len(made) >= 32
    caller = directory.authenticate(made)
    assert (caller.admin, caller.key_id, caller.account_id, caller.models) == (True, "admin", "default", None)
    assert [subject.id for subject in caller.subjects] == ["admin", "default"]
    with database.read() as connection:
        assert made not in repr(connection.execute(select(meta)).all())


def test_the_next_start_makes_none_and_still_knows_the_first(opened: Open) -> None:
    made = opened().ensure_admin_key(None)
    directory = opened()
    assert directory.ensure_admin_key(None) is None
    assert made is not None and directory.authenticate(made).admin


def test_an_admin_key_of_the_settings_wins_and_is_not_kept(opened: Open) -> None:
    made = opened().ensure_admin_key(None)
    assert made is not None
    directory = opened()
    assert directory.ensure_admin_key(ADMIN_KEY) is None
    assert directory.authenticate(ADMIN_KEY).admin
    assert not is_known(directory, made)
    directory.create_key(NewKey(name="k"))
    directory.create_account(NewAccount(name="a"))
    assert directory.authenticate(ADMIN_KEY).admin
    later = opened()
    assert later.ensure_admin_key(None) is None
    assert not is_known(later, ADMIN_KEY)
    assert later.authenticate(made).admin


def test_a_short_admin_key_is_refused(directory: Directory) -> None:
    with pytest.raises(ConfigError, match="at least 32"):
        directory.ensure_admin_key("x" * 31)


def test_without_an_admin_key_nobody_is_admin(directory: Directory) -> None:
    assert not is_known(directory, "")
    assert not is_known(directory, ADMIN_KEY)


def test_a_new_admin_key_ends_the_old_one_everywhere(opened: Open) -> None:
    server = opened()
    old = server.ensure_admin_key(None)
    new = opened().reset_admin_key()
    assert old is not None and server.authenticate(old).admin
    server.refresh_if_changed()
    assert not is_known(server, old)
    assert server.authenticate(new).admin
