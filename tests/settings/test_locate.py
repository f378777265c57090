"""The locator finds exactly the keys that tomllib finds, each on its line."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.settings.locate import Path, locate

DOCUMENT = '''\
# comment with [brackets] and "quotes"
title = "a # no comment"
"quoted key" = 1
'literal.key' = 2
"\\u00e9" = 3
a.b . c = 4

[server] # trailing
host = """
line one
# still text [x]
""\\" quote """
port = 8700
  [server.inner]
  deep = [
    1, # one
    [2, 3],
    { x = 1, y = { z = "}" } },
  ]
date = 1979-05-27 07:32:00
ends = """two quotes"""""
raw = \'\'\'
it's [not] a table
\'\'\'

[[providers]]
name = "one"
timeout = { connect = 5 }
[providers.headers]
X-A = "1"
[[providers]]
name = "two"
[[providers.models]]
name = "m"
[[providers.models]]
name = "n"
'''


def paths_of(value: Any, path: Path = ()) -> set[Path]:
    """Every path of tables, keys and elements, as tomllib sees them."""
    found = {path} if path else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found |= paths_of(item, (*path, key))
    return found


def test_every_path_of_a_document_with_all_kinds_of_syntax_is_found() -> None:
    assert set(locate(DOCUMENT)) == paths_of(tomllib.loads(DOCUMENT))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("quoted key",), 3),
        (("literal.key",), 4),
        (("é",), 5),
        (("a", "b", "c"), 6),
        (("server",), 8),
        (("server", "host"), 9),
        (("server", "port"), 13),
        (("server", "inner", "deep"), 15),
        (("server", "inner", "deep", 0), 16),
        (("server", "inner", "deep", 1), 17),
        (("server", "inner", "deep", 2, "y", "z"), 18),
        (("server", "inner", "raw"), 22),
        (("providers", 0, "name"), 27),
        (("providers", 0, "timeout", "connect"), 28),
        (("providers", 0, "headers", "X-A"), 30),
        (("providers", 1, "name"), 32),
        (("providers", 1, "models", 1, "name"), 36),
    ],
)
def test_a_key_is_found_on_the_line_where_it_stands(path: Path, line: int) -> None:
    assert locate(DOCUMENT)[path] == line


def test_an_empty_document_holds_no_keys() -> None:
    assert locate("") == {}
    assert locate("# only a comment") == {}


def test_escapes_in_a_quoted_key_are_read_as_tomllib_reads_them() -> None:
    text = r'"a\"b\\U0041\U00000022\t" = 1'
    assert set(locate(text)) == paths_of(tomllib.loads(text))


scalars = st.sampled_from(
    ["1", "-2.5", "true", "1979-05-27", '"x"', '"a\\"]"', "'lit}'", '"""m\n[x]"""', "'''r\n#'''", "[]", "{}"]
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[\n" + " , # c ]\n".join(items) + "\n]"),
        st.lists(inner, max_size=3).map(
            lambda items: "{ " + ", ".join(f"k{index} = {item}" for index, item in enumerate(items)) + " }"
        ),
    ),
    max_leaves=6,
)
keys = st.sampled_from(["a", "b.c", '"d e"', "'f'", 'g."h.i"'])
headers = st.sampled_from(["", "[t]", "[t.u]", "[[arr]]", "[[ arr ]]\n[arr.sub]", '[ "q t" ]'])
documents = st.lists(
    st.tuples(headers, st.lists(st.tuples(keys, values), max_size=3)).map(
        lambda table: table[0] + "\n" + "".join(f"{key}={value}  # tail\n" for key, value in table[1])
    ),
    max_size=4,
).map("\n".join)


@given(documents)
def test_the_locator_finds_the_same_paths_as_tomllib_in_any_document(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # only what tomllib accepts is ever located
    assert set(locate(text)) == paths_of(document)
