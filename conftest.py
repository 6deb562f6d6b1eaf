"""What every test of the project has in common."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def release_compiled_programs() -> Iterator[None]:
    """Release what the tests of a module compiled.

    XLA maps memory for every kernel of every program, Linux allows a process 65,530 maps, and
    nothing else releases them.
    """
    yield
    jax.clear_caches()
