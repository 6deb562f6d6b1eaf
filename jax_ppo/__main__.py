"""`python -m jax_ppo` is `jax-ppo`."""

import sys

from jax_ppo.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
