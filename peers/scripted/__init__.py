"""A provider that says what a script wants, in the four dialects of text: behind Posthouse, and in front of clients.

`model.py` holds what it is asked and what it says, apart from any dialect; `scenes.py` decides the second by the
first. One module for each dialect reads requests, as strictly as the real API does, and writes answers. `server.py` is
the socket. What a client's user says chooses the scene: `[hello:1f]` asks for the scene `hello`, and `1f` is a mark by
which the client can ask the upstream afterwards what it was asked, open a gate in the middle of a stream, or learn that
the connection was left.
"""
