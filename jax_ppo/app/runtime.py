"""Devices, cluster and compiled programs of this process.

Devices and cluster have to be set up before JAX computes anything.
"""

import os
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np
import platformdirs
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax_ppo.app.errors import AppError
from jax_ppo.app.machine import processor_features
from jax_ppo.app.runs import RunSettings
from jax_ppo.config import PPOConfig
from jax_ppo.devices import Layout, compiler_options, plan_layout

COORDINATOR = "JAX_COORDINATOR_ADDRESS"
"""Environment variable that makes this process one of a cluster: host:port of the first."""
MAX_CACHE_BYTES = 2**30
"""Size of the cache of compiled programs; those used least recently are deleted."""
NUM_PROCESSES, PROCESS_ID = "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
"""The other two; where SLURM or Open MPI starts the processes, JAX finds these out by itself."""


def set_up(config: PPOConfig, settings: RunSettings) -> None:
    """Set up the cache of compiled programs, then `set_up_devices`."""
    keep_compiled_programs()
    set_up_devices(config, settings)


def set_up_devices(config: PPOConfig, settings: RunSettings) -> None:
    """Make a CPU's cores into as many devices as the run can use; join the cluster, or AppError."""
    in_cluster = bool(os.environ.get(COORDINATOR))
    num_devices = settings.devices or count_cores()
    if not in_cluster:
        num_devices = plan_layout(config, settings.num_agents, num_devices, "cpu").num_devices
    # On one device a second thread costs more than it saves; see docs/speed.md.
    os.environ.setdefault("NPROC", str(1 if num_devices == 1 else count_cores()))
    try:
        if "jax_num_cpu_devices" in jax.config.values:
            jax.config.update("jax_num_cpu_devices", num_devices)
        if in_cluster:
            jax.distributed.initialize(
                num_processes=_whole_number(NUM_PROCESSES), process_id=_whole_number(PROCESS_ID)
            )
    except (RuntimeError, ValueError) as error:
        if in_cluster:
            raise AppError(
                f"cannot join the cluster at {os.environ[COORDINATOR]} ({COORDINATOR}): {error} "
                f"{NUM_PROCESSES} and {PROCESS_ID} give the number of processes and the index of "
                "this one, from 0"
            ) from error
        # JAX has computed already in this process, so its devices can no longer be changed.
    _check_platform()


def _check_platform() -> None:
    """Raise AppError if JAX cannot use the platform that JAX_PLATFORMS names."""
    platform = os.environ.get("JAX_PLATFORMS", "")
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        extra = {"cuda": "cuda", "gpu": "cuda", "tpu": "tpu"}.get(platform.split(",")[0])
        advice = f"install it with pip install 'jax-ppo[{extra}]', or " if extra else ""
        reason = f" ({error})" if str(error) else ""
        raise AppError(
            f"JAX cannot use JAX_PLATFORMS={platform}{reason}: {advice}choose another, such as cpu"
        ) from error


def _whole_number(variable: str) -> int | None:
    """The number in an environment variable; None if it is not set."""
    return int(os.environ[variable]) if variable in os.environ else None


def keep_compiled_programs() -> None:
    """Let JAX keep compiled programs in the user's cache folder: a second start does not compile.

    JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=false keeps none.
    The folder is of one version of jaxlib and one kind of processor, which JAX's own names of
    programs for CPUs do not tell apart: a home may be shared by several machines.
    """
    if sys.platform == "darwin" and jaxlib.version.__version_info__ < (0, 10):
        return  # reading a large program crashes there
    if not jax.config.values["jax_compilation_cache_dir"]:
        cache = Path(platformdirs.user_cache_dir("jax-ppo"))
        folder = cache / f"compiled-{jaxlib.__version__}-{processor_features()}"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        if jax.config.values["jax_compilation_cache_max_size"] < 0:
            jax.config.update("jax_compilation_cache_max_size", MAX_CACHE_BYTES)


def jit_with_options(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`function` under `jax.jit` with `program_options` and other options of it.

    They depend on devices that are set up after this is called, so `jax.jit` itself is called at
    the first call of the result. Example: `@partial(jit_with_options, static_argnames="layout")`.
    """
    return partial(_call, function, tuple(options.items()))


def _call(function: Callable[..., Any], options: Any, *args: Any, **kwargs: Any) -> Any:
    return _jitted(function, options)(*args, **kwargs)


@cache
def _jitted(function: Callable[..., Any], options: Any) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=program_options(), **dict(options))


def program_options() -> dict[str, bool | int]:
    """The `compiler_options` of the default backend, but for those that XLA_FLAGS sets."""
    flags = os.environ.get("XLA_FLAGS", "")
    options = compiler_options().items()
    return {name: value for name, value in options if f"--{name}" not in flags}


def plan_run(config: PPOConfig, settings: RunSettings) -> Layout:
    """The layout of a run on all devices; AppError if it cannot use one of every process."""
    processes = jax.process_count()
    found = len(jax.devices())
    wanted = min((settings.devices or found) * processes, found)
    layout = plan_layout(config, settings.num_agents, wanted, jax.default_backend())
    used = {device.process_index for device in jax.devices()[: layout.num_devices]}
    if len(used) < processes:
        raise AppError(
            f"this run can use {layout.num_devices} of {found} devices, and so only "
            f"{len(used)} of {processes} processes: start fewer, or give it more --num-agents or "
            "larger minibatches"
        )
    return layout


def count_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_leader() -> bool:
    """Whether this process is the one that writes files; without a cluster it is."""
    return jax.process_index() == 0


def broadcast_number(number: int = 0) -> int:
    """The leader's number, in every process."""
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def broadcast_arrays(tree: Any, mesh: Mesh) -> Any:
    """The leader's arrays, on every device of a mesh; other processes only give the shapes."""
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: _broadcast_leaf(leaf, sharding), tree)


def _broadcast_leaf(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """One array of `broadcast_arrays`; a random key is sent as the integers that it is made of."""
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        numbers = _broadcast_leaf(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))
    everywhere = multihost_utils.broadcast_one_to_all(np.asarray(leaf))
    return jax.device_put(everywhere, sharding)
