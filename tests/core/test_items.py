"""Items and parts: plain values that can be kept and read again."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.items import (
    CompactionItem,
    Item,
    Items,
    MessageItem,
    OpaqueState,
    ReasoningItem,
    ToolCallItem,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, RefusalPart, TextPart

_WORD = st.text(max_size=8)
_STATE = st.builds(OpaqueState, _WORD, _WORD, _WORD, st.binary(max_size=8))
_PARTS = st.lists(
    st.one_of(
        st.builds(TextPart, _WORD),
        st.builds(ImagePart, _WORD),
        st.builds(FilePart, _WORD),
        st.builds(AudioPart, _WORD),
        st.builds(RefusalPart, _WORD),
        st.builds(OpaquePart, _WORD, st.binary(max_size=8)),
    ),
    max_size=4,
).map(tuple)
_ITEMS: st.SearchStrategy[Item] = st.one_of(
    st.builds(MessageItem, _WORD, _PARTS),
    st.builds(ToolCallItem, _WORD, _WORD, _WORD),
    st.builds(ToolResultItem, _WORD, _PARTS),
    st.builds(ReasoningItem, _WORD, st.none() | _STATE),
    st.builds(CompactionItem, _STATE),
)


@given(st.lists(_ITEMS, max_size=6).map(tuple))
def test_items_kept_as_json_read_the_same(items: Items) -> None:
    assert msgspec.json.decode(msgspec.json.encode(items), type=Items) == items


def test_items_do_not_change() -> None:
    item = ToolCallItem("c", "f", "{}")
    with pytest.raises(AttributeError):
        item.name = "g"  # type: ignore[misc]
