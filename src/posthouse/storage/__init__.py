"""What outlives the process: the tables, the database behind them and the journal in front of it.

Above: accounts, billing and the composition root. Below: core alone. The hot path appends rows to the journal (a file;
it survives a kill) and never waits for the database; a thread of the journal applies them in batches. Everything else
(keys, accounts, queries) speaks SQLAlchemy Core over `Database.read()` and `Database.write()`, from threads, never from
the loop.
"""
