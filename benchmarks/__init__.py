"""Speed, memory and returns of implementations of PPO: `python -m benchmarks --help`."""

import os

# Several processes share one GPU, so JAX must not allocate most of its memory at the start.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
