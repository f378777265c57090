"""Calls of tools and their results, for interfaces that want each call answered once and behind the turn that made it.

Other dialects let a conversation lack a result, hold one whose call was cut off, or say something in between.
"""

from collections import deque
from typing import Final

from posthouse.core.items import Item, Items, MessageItem, ToolCallItem, ToolResultItem
from posthouse.core.parts import TextPart

NO_RESULT: Final = "The tool was not run: there is no result."
# What a conversation that a client lets begin with the model begins with, where it must be the user.
BEGINNING: Final = "(The conversation begins.)"


def paired(items: Items) -> tuple[dict[int, tuple[int, ToolResultItem]], set[int]]:
    """Each call's result and its place, by the place of the call; and the places of results without a call.

    Where several calls have one id, a result belongs to the first of the latest message that has none yet.
    """
    waiting: dict[str, list[tuple[int, deque[int]]]] = {}  # by id: in which message, and the places there
    answers: dict[int, tuple[int, ToolResultItem]] = {}
    orphans: set[int] = set()
    message = 0
    for place, item in enumerate(items):
        if isinstance(item, ToolCallItem):
            calls = waiting.setdefault(item.call_id, [])
            if not calls or calls[-1][0] != message:
                calls.append((message, deque()))
            calls[-1][1].append(place)
        elif isinstance(item, ToolResultItem):
            message = place
            calls = waiting.get(item.call_id, [])
            if not calls:
                orphans.add(place)
                continue
            answers[calls[-1][1].popleft()] = (place, item)
            if not calls[-1][1]:
                calls.pop()
        elif isinstance(item, MessageItem) and item.role != "assistant":
            message = place
    return answers, orphans


def side_by_side(items: Items) -> tuple[list[Item], bool]:
    """The items with each turn's results behind it, in the order in which they were given, and then those that are
    missing. The second value: some results had no call, and became what the user says."""
    answers, orphans = paired(items)
    told: list[Item] = []
    waiting: list[int] = []
    for place, item in enumerate(items):
        if isinstance(item, ToolResultItem) or (isinstance(item, MessageItem) and item.role != "assistant"):
            _answer(told, items, waiting, answers)
            waiting = []
        if isinstance(item, ToolCallItem):
            waiting.append(place)
        if not isinstance(item, ToolResultItem):
            told.append(item)
        elif place in orphans:
            told.append(MessageItem("user", item.parts))
    _answer(told, items, waiting, answers)
    return told, bool(orphans)


def _answer(told: list[Item], items: Items, waiting: list[int], answers: dict[int, tuple[int, ToolResultItem]]) -> None:
    told += [result for _, result in sorted((answers[call] for call in waiting if call in answers), key=_place)]
    for call in waiting:
        item = items[call]
        if call not in answers and isinstance(item, ToolCallItem):
            told.append(ToolResultItem(item.call_id, (TextPart(NO_RESULT),), failed=True))


def _place(answer: tuple[int, ToolResultItem]) -> int:
    return answer[0]
