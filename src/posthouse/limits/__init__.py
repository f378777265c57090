"""Limits: requests and tokens per minute, requests at once, per key and per account; all of them or nothing is taken.

Above: the gateway, which admits a request here before anything else costs something. Below: core alone. `model.py` is
the seam: what a limiter promises, so that one shared by many processes can stand in its place.
"""
