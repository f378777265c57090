"""Prices of others, read into one seed: what each source says, which of them is believed, and where they differ.

genai       the objects of the package genai-prices, if it is installed: the first source, with its rules of matching
tables      the tables of LiteLLM and models.dev (JSON): for what the first lacks
merge       one seed of all of them, and what they disagree on; which provider is called what by whom is
            `../data/sources.json`
compare     what one seed says other than another

Nothing here is asked for the price of a request. Above: the command line and `make prices`. Below: seed.
"""
