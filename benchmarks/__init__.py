"""Implementations of PPO measured side by side: `python -m benchmarks`, see `--help`."""

import os

# Several processes share one GPU, so none may take most of its memory at the start, as JAX does.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
