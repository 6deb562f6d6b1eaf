"""jax-ppo play: an episode of a trained agent, as an animated GIF."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import track

from jax_ppo.adapters.gymnax import make_gymnax
from jax_ppo.app.algorithms import find_algorithm
from jax_ppo.app.command_line import RunOptions, UsageError, check_writable, require, say
from jax_ppo.app.errors import AppError
from jax_ppo.app.framework import JAX, load_with_warnings, open_own_run
from jax_ppo.app.plots.curves import name_seeds
from jax_ppo.app.runs import Run, RunSettings, written_atomically

MAX_FPS = 50
"""What viewers of GIFs can keep up with; most slow down anything faster to 10."""


@dataclass(frozen=True)
class PlayOptions(RunOptions):
    """Draw an episode of an agent of a run as an animated GIF."""

    out: Path | None = None
    """File to write, a .gif. None: episode.gif in the run folder."""
    agent: int | None = None
    """Seed of the agent that plays. None: the first."""
    seed: int = 0
    """Seed of the episode, which starts like the first that `evaluate` runs with the same seed."""
    sampled: bool = False
    """Whether actions are sampled from the policy; else the most probable one is taken."""
    max_steps: int = 1000
    """Steps after which an episode that has not ended is cut off."""
    fps: int | None = None
    """Frames, which are steps, per second: 1 to 50. None: what is usual for the environment."""


def play_command(options: PlayOptions, console: Console) -> None:
    """Draw an episode of an agent of a run."""
    require("PIL", "jax-ppo play", "play")
    from jax_ppo.app.episodes.drawing import (
        CLASSIC_CONTROL,
        OTHER_FPS,
        check_drawable,
        draw_episode,
    )
    from jax_ppo.app.episodes.recording import record_episode

    check_options(options)
    run = open_own_run(JAX, options.run, options.allow_import)
    index = find_agent(run, options.agent)
    env, env_params = make_gymnax(run.config)
    check_drawable(run.config, env.name)
    agents, update = load_with_warnings(JAX, run)
    agent = jax.tree.map(itemgetter(index), agents)
    episode = record_episode(
        jax.random.split(jax.random.key(options.seed), run.settings.num_agents)[index],
        agent.params,
        agent.obs_stats,
        run.config,
        deterministic=not options.sampled,
        max_steps=options.max_steps,
        algorithm_fn=find_algorithm(run.algorithm),
    )
    title = f"{run.config.env_id}, seed {run.settings.seeds[index]}"
    trained = f"after {update} of {run.config.num_updates} updates"
    say(console, f"{title}, {trained}: {episode.describe()}")
    frames = draw_episode(env, env_params, episode, title)
    if console.is_terminal:
        total = episode.num_steps + 1
        frames = track(frames, "drawing", total=total, console=console, transient=True)  # type: ignore[assignment]
    out = options.out or run.path / "episode.gif"
    write_gif(out, frames, options.fps or CLASSIC_CONTROL.get(env.name, OTHER_FPS))
    say(console, f"written to {out}")


def check_options(options: PlayOptions) -> None:
    """Raise AppError or ConfigError unless options are in range and the file can be written."""
    RunSettings(seed=options.seed)
    if options.max_steps < 1:
        raise UsageError(f"--max-steps must be at least 1, got {options.max_steps}")
    if options.fps is not None and not 1 <= options.fps <= MAX_FPS:
        raise UsageError(f"--fps must be from 1 to {MAX_FPS}, got {options.fps}")
    if options.out is not None and options.out.suffix.lower() != ".gif":
        raise UsageError(f"--out must end in .gif, got {options.out}")
    check_writable(options.out)


def find_agent(run: Run, seed: int | None) -> int:
    """The index of the agent of a seed, of the first without one; AppError if there is none."""
    seeds = run.settings.seeds
    if seed is None:
        return 0
    if seed not in seeds:
        raise AppError(f"{run.path} has no agent of seed {seed}; known: {name_seeds(seeds)}")
    return seeds.index(seed)


def write_gif(path: Path, frames: Iterable[Any], fps: int) -> None:
    """Write an animated GIF of images of one size that repeats for ever, atomically.

    A GIF counts in hundredths of a second, to which the time of a frame is rounded.
    """
    images = iter(frames)
    duration = 10 * round(100 / fps)
    with written_atomically(path) as unfinished, unfinished.open("wb") as file:
        next(images).save(
            file, "GIF", save_all=True, append_images=images, duration=duration, loop=0
        )
