"""Dialects: what each API looks like on the wire, as pure functions and sans-I/O observers.

Above: the faces, which speak a dialect to clients, and providers, which speak one to vendors; the same codec serves
both. Below: core. Nothing here opens a socket, reads a clock or knows a vendor by name.
"""
