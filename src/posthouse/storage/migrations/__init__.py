"""The way from any older schema to this version's. A new revision: a file in versions/, and its id at the end of
REVISIONS."""
