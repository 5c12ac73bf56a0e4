"""What is known: read models folded from the log, each of which can be rebuilt to the same
bytes."""
