"""How echo counts: a token is one CJK character, a run of up to six other word characters, or one other sign, each with
the blanks before it. Above: echo.py, echo_desk.py."""

import re
from typing import Final

_CJK: Final = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PIECES: Final = re.compile(rf"\s*(?:[{_CJK}]|[^\W{_CJK}]{{1,6}}|[^\w\s])|\s+")


def tokens_of(text: str) -> list[str]:
    """The text cut into tokens; joined, they are the text."""
    return _PIECES.findall(text)
