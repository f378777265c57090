"""Providers: one file each, a row of data and pure quirks where it has any. See `model.py` for what a row holds."""
