"""Accounts own keys; a key says who is asking, for what, and until when.

Above: the gateway (who authenticates), the admin face and the command line (who change things). Below: storage.
"""
