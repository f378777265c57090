"""Posthouse (驿站): one gateway in front of every model provider, and the faces people use."""

__version__ = "0.1.0"
