"""The vocabulary of the house: plain types that every room shares, and no I/O."""
