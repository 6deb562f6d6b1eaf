"""What every test of the project has in common."""

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import pytest
from jax._src import compiler
from jax._src.lib import xla_client

CACHE = "JAX_COMPILATION_CACHE_DIR"
ALWAYS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
QUICK = "JAX_DISABLE_MOST_OPTIMIZATIONS"
FLAGS = "XLA_FLAGS"
NO_EMITTERS = "xla_cpu_use_fusion_emitters"
"""Without XLA's emitters of fusions a program compiles in half the time, and runs more slowly."""


def pytest_configure(config: pytest.Config) -> None:
    """Settings of JAX, for the workers and for the programs that tests start.

    Compiled programs, however small, are kept in a folder that is removed at the end. They are
    compiled without most of XLA's optimizations, in a quarter of the time; see `full_optimization`.
    """
    if CACHE not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="jax-ppo-tests-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ[CACHE] = folder.name
    os.environ.setdefault(QUICK, "1")
    os.environ.setdefault(ALWAYS, "0")
    jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float(os.environ[ALWAYS]))
    jax.config.update("jax_disable_most_optimizations", os.environ[QUICK] == "1")
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        # XLA reads its flags once: now, so that what is set next is for children alone.
        xla_client.CompileOptions()
        os.environ.setdefault(FLAGS, f"--{NO_EMITTERS}=false")
    compiler.get_compile_options = partial(_compile_options, compiler.get_compile_options)


def _compile_options(
    original: Any, *args: Any, env_options_overrides: Any = None, **others: Any
) -> Any:
    """JAX's own options, and NO_EMITTERS where optimizations are disabled."""
    if jax.config.values["jax_disable_most_optimizations"]:
        env_options_overrides = {NO_EMITTERS: False, **(env_options_overrides or {})}
    return original(*args, env_options_overrides=env_options_overrides, **others)


@pytest.fixture(scope="module")
def full_optimization() -> Iterator[None]:
    """Compile as users do: for tests of how results are rounded, and for long trainings."""
    jax.config.update("jax_disable_most_optimizations", False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(QUICK, "0")
        patch.delenv(FLAGS, raising=False)
        yield
    jax.config.update("jax_disable_most_optimizations", os.environ[QUICK] == "1")


@pytest.fixture(autouse=True, scope="module")
def release_compiled_programs() -> Iterator[None]:
    """Release what the tests of a module compiled.

    XLA maps memory for every kernel of every program, Linux allows a process 65,530 maps, and
    nothing else releases them.
    """
    yield
    jax.clear_caches()
