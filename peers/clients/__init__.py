"""What each client does, in its own words: one module for each, run in an environment that holds that client.

Only the standard library and the client itself are there; `checking.py` is what the modules share. Started by
`peers/crew.py`, which says who runs where.
"""
