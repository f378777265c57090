"""Bodies that no well-behaved client sends: good ones with something wrong in them, and such as a published schema
allows, however odd."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st

Json = dict[str, Any]
Path = tuple[Any, ...]

# What no JSON library writes, as the bytes that stand in its place.
RAW: Final[dict[str, bytes]] = {
    "@nan": b"NaN",
    "@infinity": b"-Infinity",
    "@endless": b"9" * 400,
    "@tiny": b"1e-400",
    "@huge": b"1e400",
    "@zero": b"-0.0",
    "@half": b'"\\ud83d"',
    "@other half": b'"\\udc00\\ud800"',
    "@nul": b'"a\\u0000b"',
    "@latin": b'"\xe9\xff"',
    "@overlong": b'"\xc0\xaf"',
    "@deep": b"[" * 700 + b"]" * 700,
    "@deeper": b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
    "@deepest": b"[" * 120_000,
    "@twice": b'{"type":"text","type":"x","text":"a","text":7}',
    "@nothing": b"",
    "@comment": b"/* */ 1",
    "@open": b'"',
}
_ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    2**64,
    -(2**70),
    1.5,
    "",
    " ",
    "x" * 3_000,
    "\u202e\ufeff\u0000",
    "m",
    "ph1.AAAA",
    "data:image/png;base64,AAAA",
    "data:,",
    "http://[",
    [],
    [[]],
    [None],
    ["a", 1],
    {},
    {"": ""},
    {"type": "future"},
    {"type": None},
    {"role": "user"},
)
_odd: Final = st.sampled_from([*_ODD, *RAW]).map(lambda value: json.loads(json.dumps(value)))  # a copy: it may change


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _paths(one, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, good: Json) -> bytes:
    """A good body with one to three things wrong: something else in a place, a member less or twice, an item more; or
    cut short."""
    value = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(1, 3))):
        places = [path for path in _paths(value) if path]
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        parent = value
        for key in above:
            parent = parent[key]
        match draw(st.integers(0, 5)):
            case 0:
                del parent[last]
            case 1 if isinstance(parent, dict):
                parent[f"{last}@again"] = draw(_odd)
            case 2 if isinstance(parent, list):
                parent.append(draw(_odd))
            case 3 if isinstance(parent, dict):
                parent["future"] = draw(_odd)
            case _:
                parent[last] = draw(_odd)
    body = written(value)
    return body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 19)) == 0 else body


def written(value: Any) -> bytes:
    """As JSON, with the bytes of RAW in their places; `name@again` is a second member of that name."""
    body = json.dumps(value).replace('@again":', '":').encode()
    for mark, raw in RAW.items():
        body = body.replace(json.dumps(mark).encode(), raw)
    return body


# --- from a schema -----------------------------------------------
_WORDS: Final = st.sampled_from(["", "a", "Hello", "m", "\u4f60\u597d", "auto", "x" * 200, "https://a.example/b.png"])
_TYPES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "string": _WORDS,
    "integer": st.sampled_from([0, 1, 2, 5, 128, -1, 2**31]),
    "number": st.sampled_from([0, 0.5, 1, 2, -2.0]),
    "boolean": st.booleans(),
    "null": st.none(),
    "object": st.just({}),
    "array": st.just([]),
}
_DEEPEST: Final = 6


class Schemas:
    """Values that a document's schemas allow, for the most part: lengths, patterns and bounds are not minded."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._of: Callable[[str, int], st.SearchStrategy[Any]] = cache(self._referred)

    def bodies(self, path: str, method: str = "post") -> st.SearchStrategy[Json] | None:
        """Of a request to this path, None where it takes no JSON."""
        content = self._document["paths"].get(path, {}).get(method, {}).get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        return None if schema is None else self._values(schema, 0)

    def _referred(self, pointer: str, depth: int) -> st.SearchStrategy[Any]:
        found: Any = self._document
        for name in pointer.removeprefix("#/").split("/"):
            found = found[name]
        return self._values(found, depth)

    def _values(self, schema: Any, depth: int) -> st.SearchStrategy[Any]:  # noqa: PLR0911 (one for each kind)
        if not isinstance(schema, dict):
            return st.none()
        if "$ref" in schema:
            return st.deferred(lambda: self._of(schema["$ref"], depth))
        if "const" in schema:
            return st.just(schema["const"])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        for name in ("oneOf", "anyOf"):
            if name in schema:
                return st.one_of([self._values(one, depth) for one in schema[name]])
        if "allOf" in schema:
            parts = [self._values(one, depth) for one in schema["allOf"]]
            return st.tuples(*parts).map(_together)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            return st.one_of([self._values({**schema, "type": one}, depth) for one in kind])
        if kind == "array":
            items = st.deferred(lambda: self._values(schema.get("items", {}), depth + 1))
            return st.lists(items, max_size=2) if depth < _DEEPEST else st.just([])
        return self._objects(schema, depth) if kind == "object" else _TYPES[kind]

    def _objects(self, schema: Json, depth: int) -> st.SearchStrategy[Json]:
        members = schema.get("properties", {})
        needed = [name for name in schema.get("required", ()) if name in members]
        free = [name for name in members if name not in needed] if depth < _DEEPEST else []

        @st.composite
        def made(draw: st.DrawFn) -> Json:
            few = draw(st.lists(st.sampled_from(free), max_size=4, unique=True)) if free else []
            return {name: draw(self._values(members[name], depth + 1)) for name in (*needed, *few)}

        return made()


def _together(parts: tuple[Any, ...]) -> Any:
    objects = [part for part in parts if isinstance(part, dict)]
    return {name: value for part in objects for name, value in part.items()} if objects else parts[0]
