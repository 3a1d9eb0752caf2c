"""``make demo`` and its parts: a generated study, a node process, a built-in archive, and the comparison."""
