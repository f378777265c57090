"""The only outbound HTTP socket of the house: pool, TLS, proxies, deadlines. It knows HTTP and nothing of models.

Above it: providers, which say what to send and what the answer means. Below it: core (errors) and the event loop.
"""
