"""Notes that are kept for a while."""
