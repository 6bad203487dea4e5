"""The tables and figures of the paper, and every other figure in results/, measured again on public recordings."""
