"""Counting tokens of text with the vocabulary of a model's family, offline.

Only what no provider has counted is counted here: streams that end without usage. So a vocabulary is loaded when first
needed (25 to 150 ms, 10 to 50 MB; docs/adr names the figures), by the one thread that also counts, and at most three
stay. Which family has which vocabulary is data/vocabularies.json; the longest prefix wins, an unknown family has the
default.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from splintr import AnyTokenizer, Tokenizer

FAMILIES_FILE: Final = Path(__file__).parent / "data" / "vocabularies.json"
MAX_LOADED: Final = 3
# The encoder keeps the interpreter to itself while it runs, and takes longer than linear time over a long word: 250 ms
# for 100,000 times `a` in one piece, 8 ms in pieces of 4,096. A cut adds at most one token.
_PIECE: Final = 4096


class Vocabulary(Protocol):
    """Counts tokens of plain text. Called in a worker thread, one call at a time."""

    def count(self, text: str) -> int: ...


class SplintrVocabulary:
    """One of the vocabularies in splintr's wheel."""

    def __init__(self, name: str) -> None:
        self._tokenizer: AnyTokenizer = Tokenizer.from_pretrained(name)

    def count(self, text: str) -> int:
        """`<|endoftext|>` and the like count as text: a caller must not shorten its bill with them."""
        encode = self._tokenizer.encode_ordinary
        return sum(len(encode(piece)) for piece in pieces_of(text))


class Families(Struct):
    """`families`: prefix of a model's name (lower case, behind its last slash) -> vocabulary."""

    source: str
    default: str
    families: dict[str, str]

    def vocabulary_of(self, model: str) -> str:
        name = model.lower().rpartition("/")[2]
        fitting = [prefix for prefix in self.families if name.startswith(prefix)]
        return self.families[max(fitting, key=len)] if fitting else self.default


class Vocabularies:
    """The vocabularies in use, at most MAX_LOADED. For one thread."""

    def __init__(self, load: Callable[[str], Vocabulary] = SplintrVocabulary, path: Path = FAMILIES_FILE) -> None:
        self._load = load
        self._path = path
        self._loaded: OrderedDict[str, Vocabulary] = OrderedDict()

    @cached_property
    def families(self) -> Families:
        return msgspec.json.decode(self._path.read_bytes(), type=Families)

    def of(self, model: str) -> Vocabulary:
        """The vocabulary of a model, loaded where it is not."""
        name = self.families.vocabulary_of(model)
        vocabulary = self._loaded.get(name)
        if vocabulary is None:
            while len(self._loaded) >= MAX_LOADED:
                self._loaded.popitem(last=False)
            vocabulary = self._loaded[name] = self._load(name)
        self._loaded.move_to_end(name)
        return vocabulary


def pieces_of(text: str) -> list[str]:
    """The text cut before spaces (where a token begins anyway) into pieces of at most `_PIECE` characters."""
    pieces = []
    start = 0
    while len(text) - start > _PIECE:
        cut = text.rfind(" ", start + 1, start + _PIECE)
        end = cut if cut > start + _PIECE // 2 else start + _PIECE
        pieces.append(text[start:end])
        start = end
    pieces.append(text[start:])
    return pieces
