"""The embedded provider: supervised processes on this machine, SQLite for state and queues."""
