"""One server on SQLite under faults: killed, without room on its disk, with a clock that jumps, and in a crowd at the
last cent of a budget. After each the books must be right.

Every scenario runs a few rounds in the ordinary tests, each by its seed, and as many as POSTHOUSE_CHAOS_ROUNDS says
where that is set (`rounds.py`).
"""
