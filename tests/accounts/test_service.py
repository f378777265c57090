"""Keys: let in, listed, changed and ended, on SQLite and on PostgreSQL."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text

from posthouse.accounts.forms import key_changes_of
from posthouse.accounts.model import AccountChanges, CreatedKey, KeyChanges, NewAccount, NewKey, Page
from posthouse.accounts.service import Directory
from posthouse.core.caller import Budget, Limits
from posthouse.core.errors import InvalidRequest, NotFound, Unauthenticated
from posthouse.storage.database import Database
from posthouse.storage.tables import keys
from tests.accounts.conftest import START, Clock, Open, is_known

# The door


def test_a_new_key_is_let_in_at_once_with_its_scope_limits_and_budget(directory: Directory) -> None:
    new = NewKey(
        name="ci",
        models=("a", "b"),
        limits=Limits(rpm=10, tpm=1000, concurrency=2),
        budgets=(Budget(5_000_000_000, "USD", "month"),),
        expires_at=START + 60,
    )
    created = directory.create_key(new)
    caller = directory.authenticate(created.secret)
    assert (caller.key_id, caller.key_name, caller.account_id) == (created.key.id, "ci", "default")
    assert caller.models == frozenset({"a", "b"})
    assert caller.expires_at == START + 60
    assert not caller.admin
    own, account = caller.subjects
    assert (own.id, own.kind, own.limits, own.budgets) == (created.key.id, "key", new.limits, new.budgets)
    assert (account.id, account.kind, account.limits, account.budgets) == ("default", "account", Limits(), ())


def test_what_a_key_wants_comes_with_its_caller_also_after_a_restart(opened: Open) -> None:
    new = NewKey(name="k", defaults={"temperature": 0.2, "stop": ["\n", "é"]}, aliases={"gpt-4": "smart"}, strict=True)
    secret = opened().create_key(new).secret
    wishes = opened().authenticate(secret).wishes
    assert wishes is not None
    assert {name: bytes(raw) for name, raw in wishes.defaults.items()} == {
        "temperature": b"0.2",
        "stop": '["\\n","é"]'.encode(),
    }
    assert (wishes.aliases, wishes.strict) == ({"gpt-4": "smart"}, True)


def test_a_key_that_wants_nothing_costs_no_look_at_it(directory: Directory) -> None:
    assert directory.authenticate(directory.create_key(NewKey(name="k")).secret).wishes is None


def test_what_a_key_wants_is_changed_and_taken_away(directory: Directory) -> None:
    made = directory.create_key(NewKey(name="k", defaults={"n": 2}, aliases={"a": "m"}))
    changed = directory.update_key(made.key.id, KeyChanges(defaults={"top_p": 0.5}, strict=True))
    assert (changed.defaults, changed.aliases, changed.strict) == ({"top_p": 0.5}, {"a": "m"}, True)
    assert directory.get_key(made.key.id) == changed
    directory.update_key(made.key.id, KeyChanges(defaults=None, aliases=None, strict=False))
    assert directory.authenticate(made.secret).wishes is None


def test_whatever_is_not_a_key_is_refused_in_the_same_words(directory: Directory) -> None:
    directory.create_key(NewKey(name="k"))
    unknown = ["", "sk-ph-unknown", "' OR '1'='1", "sk-ph-\x00", "ключ", "\ud800", "x" * 100_000, "admin", "default"]
    for secret in unknown:
        with pytest.raises(Unauthenticated) as caught:
            directory.authenticate(secret)
        assert caught.value.message == "The API key is not known here, or it has expired or been revoked."
        assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


def test_a_part_of_a_key_or_its_hint_or_its_id_is_no_key(directory: Directory) -> None:
    created = directory.create_key(NewKey(name="k"))
    for secret in (created.secret[:-1], f"{created.secret} ", created.key.hint, created.key.id, created.secret.upper()):
        assert not is_known(directory, secret)


def test_a_key_ends_when_the_clock_says_so(directory: Directory, clock: Clock) -> None:
    created = directory.create_key(NewKey(name="k", expires_at=START + 60))
    clock.now = START + 59.9
    assert is_known(directory, created.secret)
    clock.now = START + 60
    assert not is_known(directory, created.secret)
    assert directory.get_key(created.key.id).status(clock.now) == "expired"


def test_a_revoked_key_ends_at_once_and_for_good(directory: Directory, clock: Clock) -> None:
    created = directory.create_key(NewKey(name="k"))
    revoked = directory.revoke_key(created.key.id)
    assert revoked.revoked_at == START
    assert revoked.status(clock.now) == "revoked"
    assert not is_known(directory, created.secret)
    clock.now += 5
    assert directory.revoke_key(created.key.id).revoked_at == START
    with pytest.raises(InvalidRequest, match="revoked"):
        directory.update_key(created.key.id, KeyChanges(name="other"))


def test_a_disabled_account_stops_its_keys_until_it_is_enabled(directory: Directory, clock: Clock) -> None:
    account = directory.create_account(NewAccount(name="team"))
    created = directory.create_key(NewKey(name="k", account="team"))
    assert directory.update_account(account.id, AccountChanges(disabled=True)).disabled_at == START
    assert not is_known(directory, created.secret)
    with pytest.raises(InvalidRequest) as caught:
        directory.create_key(NewKey(name="k", account="team"))
    assert caught.value.param == "account"
    clock.now += 1
    assert directory.update_account("team", AccountChanges(disabled=True)).disabled_at == START
    assert directory.update_account("team", AccountChanges(disabled=False)).disabled_at is None
    assert is_known(directory, created.secret)


def test_limits_of_the_settings_hold_where_a_key_has_none_of_its_own(opened: Open) -> None:
    directory = opened(Limits(rpm=5, tpm=50))
    created = directory.create_key(NewKey(name="k", limits=Limits(rpm=9)))
    assert directory.authenticate(created.secret).subjects[0].limits == Limits(rpm=9, tpm=50)
    assert directory.get_key(created.key.id).limits == Limits(rpm=9)


# What another process does


def test_what_another_process_changes_holds_after_the_next_look(opened: Open) -> None:
    server, other = opened(), opened()
    assert server.refresh_if_changed() is False
    created = other.create_key(NewKey(name="k"))
    assert not is_known(server, created.secret)
    assert server.refresh_if_changed() is True
    assert is_known(server, created.secret)
    assert server.refresh_if_changed() is False
    other.revoke_key(created.key.id)
    assert server.refresh_if_changed() is True
    assert not is_known(server, created.secret)


def test_a_change_of_ours_after_one_that_we_have_not_seen_brings_both(opened: Open) -> None:
    server, other = opened(), opened()
    theirs = other.create_key(NewKey(name="theirs"))
    ours = server.create_key(NewKey(name="ours"))
    assert is_known(server, theirs.secret)
    assert is_known(server, ours.secret)
    assert server.refresh_if_changed() is False


def test_a_directory_opened_later_knows_the_keys_that_live_and_no_others(opened: Open, clock: Clock) -> None:
    first = opened()
    living = first.create_key(NewKey(name="living", models=("m",), budgets=(Budget(1, "CNY", "day"),)))
    revoked = first.create_key(NewKey(name="revoked"))
    expired = first.create_key(NewKey(name="expired", expires_at=START + 1))
    first.revoke_key(revoked.key.id)
    clock.now += 2
    second = opened()
    assert second.authenticate(living.secret) == first.authenticate(living.secret)
    assert [is_known(second, created.secret) for created in (revoked, expired)] == [False, False]


def test_keys_made_by_many_threads_at_once_are_all_known(directory: Directory) -> None:
    def make(number: int) -> CreatedKey:
        return directory.create_key(NewKey(name=f"k{number}"))

    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(make, range(20)))
    assert all(is_known(directory, one.secret) for one in created)
    assert directory.refresh_if_changed() is False


# Keys


def test_a_secret_is_long_url_safe_and_kept_as_a_hash_only(database: Database) -> None:
    created = Directory(database).create_key(NewKey(name="k"))
    assert re.fullmatch(r"sk-ph-[A-Za-z0-9_-]{43}", created.secret)
    assert created.key.hint == created.secret[-4:]
    with database.read() as connection:
        stored = repr(connection.execute(select(keys)).all())
    assert created.secret not in stored
    assert created.secret[6:] not in stored
    assert created.secret not in repr(created)


def test_a_key_is_changed_field_by_field(directory: Directory) -> None:
    budgets = (Budget(10, "USD", "total"),)
    created = directory.create_key(NewKey(name="k", models=("a",), limits=Limits(rpm=1, tpm=2), budgets=budgets))
    changed = directory.update_key(created.key.id, key_changes_of({"name": "l", "limits": {"rpm": None}}))
    assert (changed.name, changed.models, changed.limits, changed.budgets) == ("l", ("a",), Limits(tpm=2), budgets)
    changed = directory.update_key(created.key.id, key_changes_of({"models": None, "budget": None, "limits": None}))
    assert (changed.models, changed.limits, changed.budgets) == (None, Limits(), ())
    changed = directory.update_key(created.key.id, KeyChanges(expires_at=START + 9))
    assert changed == directory.get_key(created.key.id)
    caller = directory.authenticate(created.secret)
    assert (caller.key_name, caller.models, caller.expires_at) == ("l", None, START + 9)
    assert directory.update_key(created.key.id, KeyChanges()) == changed


def test_a_key_ends_when_its_expiry_is_moved_into_the_past_and_lives_when_it_is_taken_away(
    directory: Directory,
) -> None:
    created = directory.create_key(NewKey(name="k"))
    directory.update_key(created.key.id, KeyChanges(expires_at=START - 1))
    assert not is_known(directory, created.secret)
    directory.update_key(created.key.id, KeyChanges(expires_at=None))
    assert is_known(directory, created.secret)


def test_an_unknown_id_is_not_found(directory: Directory) -> None:
    directory.create_key(NewKey(name="k"))
    for key_id in ("key_absent", "", "a\x00b", "\ud800", "x" * 10_000, "' OR '1'='1", "default"):
        for within in (None, "default"):
            with pytest.raises(NotFound):
                directory.get_key(key_id, within)
            with pytest.raises(NotFound):
                directory.revoke_key(key_id, within)
            with pytest.raises(NotFound):
                directory.update_key(key_id, KeyChanges(name="n"), within)


def test_another_accounts_key_is_not_found_and_not_touched(directory: Directory) -> None:
    team = directory.create_account(NewAccount(name="team"))
    created = directory.create_key(NewKey(name="k"))
    with pytest.raises(NotFound, match="There is no key with this id"):
        directory.get_key(created.key.id, within=team.id)
    with pytest.raises(NotFound, match="There is no key with this id"):
        directory.revoke_key(created.key.id, within=team.id)
    with pytest.raises(NotFound, match="There is no key with this id"):
        directory.update_key(created.key.id, KeyChanges(name="mine"), within=team.id)
    assert directory.list_keys(within=team.id).items == ()
    assert directory.get_key(created.key.id, within="default").name == "k"
    assert is_known(directory, created.secret)


def test_keys_are_listed_newest_first_page_by_page(directory: Directory, clock: Clock) -> None:
    names = []
    for number in range(5):
        clock.now += 1
        names.append(directory.create_key(NewKey(name=f"k{number}")).key.name)
    seen: list[str] = []
    after: str | None = None
    for _ in range(3):
        page = directory.list_keys(Page(limit=2, after=after))
        seen += [key.name for key in page.items]
        after = page.next
    assert seen == names[::-1]
    assert after is None
    assert directory.list_keys(Page(limit=5)).next is None
    assert directory.list_keys(Page(after="key_0")).items == ()


def test_a_key_of_a_named_account_is_listed_with_it(directory: Directory) -> None:
    team = directory.create_account(NewAccount(name="team"))
    by_name = directory.create_key(NewKey(name="a", account="team"))
    by_id = directory.create_key(NewKey(name="b", account=team.id))
    assert {key.id for key in directory.list_keys(within=team.id).items} == {by_name.key.id, by_id.key.id}
    assert by_id.key.account_name == "team"


# Input


def test_a_key_of_no_account_is_refused(directory: Directory) -> None:
    with pytest.raises(InvalidRequest) as caught:
        directory.create_key(NewKey(name="k", account="absent"))
    assert caught.value.param == "account"
    assert directory.list_keys().items == ()


def test_what_breaks_a_rule_reaches_no_table(directory: Directory) -> None:
    created = directory.create_key(NewKey(name="k"))
    with pytest.raises(InvalidRequest):
        directory.create_key(NewKey(name=""))
    with pytest.raises(InvalidRequest):
        directory.update_key(created.key.id, KeyChanges(name=""))
    with pytest.raises(InvalidRequest):
        directory.create_account(NewAccount(name=""))
    with pytest.raises(InvalidRequest):
        directory.update_account("default", AccountChanges(name=""))
    with pytest.raises(InvalidRequest):
        directory.list_keys(Page(limit=0))
    with pytest.raises(InvalidRequest):
        directory.list_accounts(Page(limit=0))
    assert directory.list_keys().items == (created.key,)
    assert [account.name for account in directory.list_accounts().items] == ["default"]


def test_the_largest_values_that_the_rules_allow_can_be_stored(directory: Directory) -> None:
    new = NewKey(
        name="名" * 128,
        models=tuple(f"{index:03d}" + "m" * 253 for index in range(1000)),
        limits=Limits(rpm=10**9, tpm=10**12, concurrency=10**6),
        budgets=(Budget(2**63 - 1, "USD", "week"),),
        expires_at=253_402_300_799,
    )
    created = directory.create_key(new)
    key = directory.get_key(created.key.id)
    assert (key.name, key.models, key.limits, key.budgets) == (new.name, new.models, new.limits, new.budgets)
    assert key.expires_at == new.expires_at


def test_sql_in_every_text_is_text(directory: Directory, database: Database) -> None:
    evil = "x'); DROP TABLE keys; --"
    account = directory.create_account(NewAccount(name=evil))
    created = directory.create_key(NewKey(name=evil, account=evil))
    assert directory.get_key(created.key.id).account_name == evil
    assert directory.list_keys(Page(after=evil)).next is None
    assert directory.get_account(account.id).name == evil
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM keys")).scalar() == 1
