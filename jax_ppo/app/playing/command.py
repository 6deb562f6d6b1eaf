"""jax-ppo play: an episode of a trained agent, as an animated GIF."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import jax
from PIL import Image
from rich.console import Console
from rich.progress import track
from tyro.conf import Positional, arg

from jax_ppo.app.commands import Side, check_writable, open_own_run, say
from jax_ppo.app.errors import AppError
from jax_ppo.app.options import UsageError, parse_options
from jax_ppo.app.pictures.curves import name_seeds
from jax_ppo.app.playing.drawing import check_drawable, draw_episode, usual_fps
from jax_ppo.app.playing.episode import Episode, record_episode
from jax_ppo.app.runs import Run, RunSettings, written_whole
from jax_ppo.envs import make_gymnax

MAX_FPS = 50
"""What viewers of GIFs can keep up with; most slow down anything faster to 10."""


@dataclass(frozen=True)
class PlayOptions:
    """Draw an episode of an agent, from the newest sound checkpoint of its run."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder."""
    out: Path | None = None
    """File to write, a .gif. None: episode.gif in the run folder."""
    agent: int | None = None
    """Seed of the agent that plays. None: the first."""
    seed: int = 0
    """Seed of the episode, which starts like the first that `evaluate` runs with the same seed."""
    sampled: bool = False
    """Whether actions are sampled from the policy; else the most probable one is taken."""
    max_steps: int = 1000
    """Steps after which an episode that goes on is left."""
    fps: int | None = None
    """Frames, which are steps, per second: 1 to 50. None: what is usual for the environment."""


def play_command(side: Side, words: list[str], console: Console) -> None:
    """Draw an episode of an agent of a run."""
    options = parse_options(PlayOptions, f"{side.program} play", words)
    check_options(options)
    run = open_own_run(side, options.run)
    index = find_agent(run, options.agent)
    env, env_params = make_gymnax(run.config)
    check_drawable(run.config, env.name)
    agents, update, problems = side.load_agents(run)
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    agent = jax.tree.map(itemgetter(index), agents)
    episode = record_episode(
        jax.random.split(jax.random.key(options.seed), run.settings.num_seeds)[index],
        agent.params,
        agent.obs_stats,
        run.config,
        deterministic=not options.sampled,
        max_steps=options.max_steps,
    )
    title = f"{run.config.env_id}, seed {run.settings.seeds[index]}"
    trained = f"after {update} of {run.config.num_updates} updates"
    say(console, f"{title}, {trained}: {describe_episode(episode)}")
    frames = draw_episode(env, env_params, episode, title)
    out = options.out or run.path / "episode.gif"
    fps = options.fps or usual_fps(env.name)
    write_gif(out, show_progress(frames, episode.num_steps + 1, console), fps)
    say(console, f"written to {out}")


def check_options(options: PlayOptions) -> None:
    """Raise unless the options make sense and the file can be written.

    Raises:
        UsageError: A number is out of its range, or the file is not to be a GIF.
        AppError: The file is a folder, or its folder does not exist.
        ConfigError: The seed of the episode is none.
    """
    RunSettings(seed=options.seed)
    if options.max_steps < 1:
        raise UsageError(f"--max-steps must be at least 1, got {options.max_steps}")
    if options.fps is not None and not 1 <= options.fps <= MAX_FPS:
        raise UsageError(f"--fps must be from 1 to {MAX_FPS}, got {options.fps}")
    if options.out is not None and options.out.suffix.lower() != ".gif":
        raise UsageError(f"--out must end in .gif, got {options.out}")
    check_writable(options.out)


def find_agent(run: Run, seed: int | None) -> int:
    """The place of an agent among those of its run.

    Args:
        run: The run.
        seed: Seed of the agent; None: the first.

    Raises:
        AppError: The run has no agent of that seed.
    """
    seeds = run.settings.seeds
    if seed is None:
        return 0
    if seed not in seeds:
        raise AppError(f"{run.path} has no agent of seed {seed}; known: {name_seeds(seeds)}")
    return seeds.index(seed)


def describe_episode(episode: Episode) -> str:
    """Return, length and end of an episode, in words."""
    if episode.terminated:
        end = "terminated"
    elif episode.truncated:
        end = "truncated by the time limit"
    else:
        end = "left before its end (--max-steps)"
    return f"return {episode.returns[-1]:z.2f} in {episode.num_steps} steps, {end}"


def show_progress(
    frames: Iterable[Image.Image], total: int, console: Console
) -> Iterable[Image.Image]:
    """The same frames, with a bar on the terminal, if it is one, while they are drawn."""
    if not console.is_terminal:
        return frames
    return track(frames, "drawing", total=total, console=console, transient=True)


def write_gif(path: Path, frames: Iterable[Image.Image], fps: int) -> None:
    """Write an animated GIF that repeats for ever, whole or not at all.

    Args:
        path: Where to.
        frames: All of one size, at least one.
        fps: Frames per second; a GIF counts in hundredths of a second, to which it is rounded.
    """
    images = iter(frames)
    duration = 10 * round(100 / fps)
    with written_whole(path) as unfinished, unfinished.open("wb") as file:
        next(images).save(
            file, "GIF", save_all=True, append_images=images, duration=duration, loop=0
        )
