"""Options of the compiler that are faster by measurement; see docs/speed.md."""

import jax


def compiler_options(platform: str | None = None) -> dict[str, bool | int]:
    """Options for the compiler: `jax.jit(train, compiler_options=compiler_options())`.

    On a CPU: vectors as wide as the processor has them, and a closer analysis of which copies
    loops need. Optimizing the machine code less would compile in four fifths of the time, and make
    environments that sort, such as Seaquest, 1.7 times as slow.

    Args:
        platform: cpu, gpu, tpu or whatever else JAX calls the kind of device; None: the one that
            JAX uses by default.
    """
    if (platform or jax.default_backend()) != "cpu":
        return {}
    return {
        "xla_cpu_prefer_vector_width": 512,
        "xla_cpu_copy_insertion_use_region_analysis": True,
    }
