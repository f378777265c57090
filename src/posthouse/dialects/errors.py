"""What an upstream sent and no dialect can read. A client's bad input is `core.errors.InvalidRequest` instead."""


class DialectError(ValueError):
    """Bytes of an upstream that do not follow the dialect; the message holds none of them."""
