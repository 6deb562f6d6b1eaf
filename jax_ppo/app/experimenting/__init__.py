"""Named experiments: sweeps with a question, and claims that are checked."""
