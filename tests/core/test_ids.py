"""Ids: in the order of time, and never the same twice."""

from posthouse.core.ids import IdMaker


def test_ids_sort_by_time_and_then_by_their_making() -> None:
    times = iter([1.0, 1.0, 1.001, 2.0, 4_000_000_000.0])
    maker = IdMaker(clock=lambda: next(times), nonce="0123456789")
    ids = [maker.make("req") for _ in range(5)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5
    assert {len(made) for made in ids} == {4 + 12 + 6 + 10}


def test_two_makers_never_make_the_same() -> None:
    one, other = IdMaker(clock=lambda: 1.0), IdMaker(clock=lambda: 1.0)
    assert one.make("key") != other.make("key")


def test_an_id_begins_with_what_it_names() -> None:
    assert IdMaker().make("acc").startswith("acc_")
