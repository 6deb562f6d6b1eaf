"""What every test of the project has in common."""

import os
import tempfile
from collections.abc import Iterator

import jax
import pytest

CACHE = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config: pytest.Config) -> None:
    """Give the workers, and the programs that tests start, a cache of compiled programs.

    It is theirs alone, and removed at the end; the variable may name another folder.
    """
    if CACHE not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="jax-ppo-tests-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ[CACHE] = folder.name
    jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])


@pytest.fixture(autouse=True, scope="module")
def release_compiled_programs() -> Iterator[None]:
    """Release what the tests of a module compiled.

    XLA maps memory for every kernel of every program, Linux allows a process 65,530 maps, and
    nothing else releases them.
    """
    yield
    jax.clear_caches()


@pytest.fixture
def quick_compilation() -> Iterator[None]:
    """Compile without most of XLA's optimizations, in half the time.

    For tests that do not depend on how results are rounded.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
