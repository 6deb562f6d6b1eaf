"""`python -m torch_ref` is `torch-ref`."""

import sys

from torch_ref.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
