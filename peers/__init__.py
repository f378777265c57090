"""Suites and clients that others wrote, run against Posthouse (`make peers`).

They are installed by name, locked and hashed (requirements/peers.txt), into an environment of their own, and reach a
Posthouse that runs as a process of its own, like anybody's. Not needed for working on the project.
"""
