"""Codes that people type: redemption codes and invitations.

`7KQ2M-...`: 25 letters and digits (125 random bits) of an alphabet without those that are mistaken for others. What is
typed instead of them is understood, as are small letters, and hyphens and spaces anywhere or nowhere. A code is shown
once, when it is made; its SHA-256 is kept, which is enough for what nobody can guess.
"""

import secrets
from hashlib import sha256
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH: Final = 25
_GROUP: Final = 5
_LONGEST: Final = 100  # with whatever stands between the letters
_MEANT: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


def new_ticket() -> str:
    plain = "".join([secrets.choice(ALPHABET) for _ in range(LENGTH)])
    return "-".join([plain[at : at + _GROUP] for at in range(0, LENGTH, _GROUP)])


def digest_of(typed: object) -> bytes | None:
    """What is kept of a code; None for what cannot be one."""
    if not isinstance(typed, str) or len(typed) > _LONGEST or not typed.isascii():
        return None
    plain = typed.upper().translate(_MEANT)
    if len(plain) != LENGTH or not set(plain) <= set(ALPHABET):
        return None
    return sha256(plain.encode()).digest()


def hint_of(ticket: str) -> str:
    """Its end, which may be shown."""
    return ticket[-4:]
