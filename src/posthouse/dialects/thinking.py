"""How much to think, as a word where a client said a number of tokens, or the reverse; and whether the thoughts are to
be shown."""

from typing import Final

from posthouse.core.items import InnerRequest

# No model's own numbers: what clients of one kind of API send where those of the other send the word. The strongest
# words are left out, since a model that does not know one refuses the request.
_EFFORTS: Final = (("minimal", 512), ("low", 1_024), ("medium", 4_096), ("high", 16_384))


def effort_of(budget: int) -> str:
    """The effort whose usual budget is nearest, by ratio; `none` for 0."""
    if budget <= 0:
        return "none"
    budget = min(budget, _EFFORTS[-1][1])
    return min(_EFFORTS, key=lambda effort: max(budget / effort[1], effort[1] / budget))[0]


def budget_of(effort: str) -> int | None:
    """The usual budget of an effort, at most that of `high`; None for `none`, and for a word that nobody knows."""
    return dict(_EFFORTS).get("high" if effort in ("xhigh", "max") else effort)


def shown_of(request: InnerRequest) -> bool | None:
    """Whether thoughts are to be shown. In the Messages API whoever gives a budget for them sees them, unless they say
    that they do not want to; in the other dialects nobody does who has not asked."""
    thinking = request.thinking
    if thinking.shown is None and request.dialect == "anthropic_messages" and thinking.budget:
        return True
    return thinking.shown
