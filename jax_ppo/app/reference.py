"""The command `torch-ref`, which is installed whether PyTorch is or not."""

import importlib
import sys


def main() -> int:
    """Run one command of `torch-ref`, or say what is missing."""
    try:
        cli = importlib.import_module("torch_ref.app.cli")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        print("error: torch-ref needs PyTorch: pip install '.[torch]'", file=sys.stderr)
        return 2
    return int(cli.main())
