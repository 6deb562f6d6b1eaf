"""The command `torch-ref`, which is installed whether PyTorch is or not."""

import importlib
import sys

from jax_ppo.app.command_line import require
from jax_ppo.app.errors import AppError


def main() -> int:
    """Run one command of `torch-ref`, or report that PyTorch is missing."""
    try:
        require("torch", "torch-ref", "torch")
    except AppError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(importlib.import_module("torch_ref.app.cli").main())
