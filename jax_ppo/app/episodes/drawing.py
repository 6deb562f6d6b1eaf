"""Images of an episode: by gymnax's visualizer, or of observations that are images."""

import importlib.util
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jax_ppo.adapters import make_env
from jax_ppo.app.episodes.recording import Episode
from jax_ppo.app.errors import AppError
from jax_ppo.config import PPOConfig
from jax_ppo.envs import EnvState

CLASSIC_CONTROL = {
    "Acrobot-v1": 15,
    "CartPole-v1": 50,
    "MountainCar-v0": 30,
    "MountainCarContinuous-v0": 30,
    "Pendulum-v1": 30,
}
"""Environments that gymnax draws with Gymnasium, and Gymnasium's frames per second."""

GYMNAX_FIGURES = (
    *("Asterix-MinAtar", "Breakout-MinAtar", "Catch-bsuite", "FourRooms-misc", "Freeway-MinAtar"),
    *("MetaMaze-misc", "PointRobot-misc", "Pong-misc", "Seaquest-MinAtar", "SpaceInvaders-MinAtar"),
)
"""Environments that gymnax draws by itself."""

OTHER_FPS = 10
"""Frames per second of all but classic control, as in gymnax."""
ENLARGED_SIZE = 400
"""Pixels that a small image is enlarged to, at most."""
CAPTION_SIZE, MARGIN = (530, 36), 8
"""Pixels of the line above an image (width, height), and around it."""
FONT_SIZE, DPI = 11, 100
"""Of the line above an image, in points; pixels per inch, as matplotlib has it."""


def check_drawable(config: PPOConfig, name: str) -> None:
    """Raise AppError unless an environment, with gymnax's `name`, can be drawn."""
    if name in CLASSIC_CONTROL:
        if importlib.util.find_spec("pygame") is None:
            raise AppError(
                f"{name} is drawn with pygame, which is not installed: pip install 'jax-ppo[play]'"
            )
    elif name not in GYMNAX_FIGURES and not _is_image(make_env(config).observation_space.shape):
        known = ", ".join(sorted((*CLASSIC_CONTROL, *GYMNAX_FIGURES)))
        raise AppError(
            f"there is no picture of {config.env_id}; there is one of {known}, "
            "and of every environment whose observations are images"
        )


def _is_image(obs_shape: tuple[int, ...]) -> bool:
    """Whether observations are [height, width] or [height, width, channels], of several pixels."""
    return len(obs_shape) in (2, 3) and min(obs_shape[:2]) > 1


def draw_episode(env: Any, env_params: Any, episode: Episode, title: str) -> Iterator[Image.Image]:
    """An image of every state of an episode, num_steps + 1 in all, drawn one by one.

    Above each stand the title, the step and the return so far.
    """
    states = [episode.state(i) for i in range(episode.num_steps + 1)]
    captions = [f"{title}: step {i}, return {r:z.2f}" for i, r in enumerate(episode.returns)]
    if env.name in GYMNAX_FIGURES:
        return _draw_with_gymnax(env, env_params, states, captions)
    if env.name in CLASSIC_CONTROL:
        return map(add_caption, _draw_with_gymnasium(env.name, env_params, states), captions)
    return map(add_caption, observation_images(episode.obs), captions)


def observation_images(obs: np.ndarray) -> np.ndarray:
    """Observations as images, uint8, from 0 (their least entry) to 255 (their greatest).

    They are [num_images, height, width] or [num_images, height, width, channels]. Three channels
    are colours; any other number are planes with the places of something, in shades of grey.
    """
    low, high = obs.min(), obs.max()
    scaled = 255 * (obs - low) / (high - low if high > low else 1)
    channels = obs.shape[-1]
    if obs.ndim == 4 and channels != 3:
        scaled = np.max(scaled * np.arange(1, channels + 1) / channels, axis=-1)
    return scaled.round().astype(np.uint8)


def add_caption(image: np.ndarray, caption: str) -> Image.Image:
    """An image [height, width] or [height, width, 3], uint8, enlarged if small, below a text."""
    scale = max(1, ENLARGED_SIZE // max(image.shape[:2]))
    height, width = (scale * size for size in image.shape[:2])
    enlarged = (
        Image.fromarray(image).convert("RGB").resize((width, height), Image.Resampling.NEAREST)
    )
    picture = ImageOps.expand(enlarged, border=1, fill="black")
    full_width = max(picture.width + 2 * MARGIN, CAPTION_SIZE[0])
    page = Image.new("RGB", (full_width, CAPTION_SIZE[1] + picture.height + MARGIN), "white")
    page.paste(picture, ((full_width - picture.width) // 2, CAPTION_SIZE[1]))
    middle = (full_width / 2, CAPTION_SIZE[1] / 2)
    ImageDraw.Draw(page).text(middle, caption, fill="black", font=_font(), anchor="mm")
    return page


def _draw_with_gymnax(
    env: Any, env_params: Any, states: list[EnvState], captions: list[str]
) -> Iterator[Image.Image]:
    """What gymnax's visualizer draws, with captions of one's own."""
    from gymnax.visualize import Visualizer
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    visualizer = Visualizer(env, env_params, states)
    canvas: Any = visualizer.fig.canvas
    try:
        visualizer.init()
        for i, caption in enumerate(captions):
            visualizer.update(i)
            visualizer.ax.set_title(caption, fontsize=FONT_SIZE)
            canvas.draw()
            yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    finally:
        pyplot.close(visualizer.fig)


def _draw_with_gymnasium(
    name: str, env_params: Any, states: Iterable[EnvState]
) -> Iterator[np.ndarray]:
    """Pictures [height, width, 3] by Gymnasium's environment of the same name, made only once."""
    import gymnasium
    from gymnax.visualize.vis_gym import get_gym_state, set_gym_params

    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    for device in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
        os.environ.setdefault(device, "dummy")
    env: Any = gymnasium.make(name, render_mode="rgb_array").unwrapped
    set_gym_params(env, name, env_params)
    try:
        for state in states:
            env.state = get_gym_state(state, name)
            if name == "Pendulum-v1":
                env.last_u = np.asarray(state.last_u)
            yield env.render()
    finally:
        env.close()


@cache
def _font() -> ImageFont.FreeTypeFont:
    """The font that matplotlib uses, and so gymnax."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(path, round(FONT_SIZE * DPI / 72))
