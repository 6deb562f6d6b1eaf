"""Playing an episode: it is the one that evaluation runs, it is drawn whole, mistakes are said."""

import re
import sys
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import gymnasium
import gymnax
import jax
import numpy as np
import pytest
from gymnax.visualize import Visualizer
from gymnax.visualize.vis_gym import SUPPORTED_GYM_ENVS
from matplotlib import pyplot
from PIL import Image

from jax_ppo import PPOConfig, init_train_states
from jax_ppo.adapters.gymnax import NEEDS_DOWNLOAD, make_gymnax
from jax_ppo.app.checkpoints import to_arrays, write_checkpoint
from jax_ppo.app.cli import main
from jax_ppo.app.commands.play import write_gif
from jax_ppo.app.episodes.drawing import (
    CLASSIC_CONTROL,
    GYMNAX_FIGURES,
    add_caption,
    draw_episode,
    observation_images,
)
from jax_ppo.app.episodes.recording import Episode, record_episode
from jax_ppo.app.evaluation import Agents, evaluate_agents, load_agents
from jax_ppo.app.runs import Run, RunSettings, create_run
from tests.core.helpers import count_compilations

SEED = 3
NUM_AGENTS = 2


def play(*words: str) -> int:
    """`jax-ppo play`, and its exit status."""
    return main(["play", *map(str, words)])


def untrained_run(env_id: str, name: str = "run", framework: str = "jax", **options) -> Run:
    """A run of two agents, seeds 5 and 6, at its beginning."""
    config = PPOConfig(env_id=env_id, hidden_sizes=(8,), total_steps=2048, **options)
    run = create_run(Path(name), config, RunSettings(seed=5, num_agents=NUM_AGENTS), framework)
    if framework == "jax":
        keys = jax.vmap(jax.random.key)(np.asarray(run.settings.seeds))
        states = jax.jit(init_train_states)(keys, config)
        write_checkpoint(run, 0, to_arrays(states))
    return run


def episode_of(run: Run, index: int, agents: Agents | None = None, **options) -> Episode:
    """The episode that `play --seed SEED` shows of an agent."""
    key = jax.random.split(jax.random.key(SEED), NUM_AGENTS)[index]
    agents = load_agents(run)[0] if agents is None else agents
    return record_episode(key, *jax.tree.map(itemgetter(index), agents), run.config, **options)


def read_gif(path: Path | str) -> tuple[list[np.ndarray], list[float]]:
    """The frames of a GIF [height, width, 3], and how long each is shown, in milliseconds."""
    with Image.open(path) as image:
        shown = []
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
            shown.append(image.info["duration"])
    return frames, shown


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_episode_is_the_first_that_evaluation_runs(
    deterministic: bool, finished_run: Run
) -> None:
    agents, _, _ = load_agents(finished_run)
    expected = evaluate_agents(
        agents, finished_run.config, 4, deterministic=deterministic, seed=SEED
    )
    for index in range(NUM_AGENTS):
        episode = episode_of(finished_run, index, deterministic=deterministic)
        assert episode.num_steps == expected.episode_length[index, 0]
        assert episode.returns[-1] == expected.episode_return[index, 0]
        assert (episode.terminated or episode.truncated) == expected.finished[index, 0]


def test_the_episode_of_a_pendulum() -> None:
    """Rewards that are no whole numbers, actions that are vectors, an end by the time limit."""
    run = untrained_run("Pendulum-v1", env_params={"max_steps_in_episode": 50})
    agents, _, _ = load_agents(run)
    expected = evaluate_agents(agents, run.config, 1, deterministic=False, seed=SEED)
    for index in range(NUM_AGENTS):
        episode = episode_of(run, index, deterministic=False)
        np.testing.assert_allclose(
            episode.returns[-1], expected.episode_return[index, 0], rtol=1e-5
        )
        assert episode.num_steps == 50
        assert (episode.terminated, episode.truncated) == (False, True)


def test_the_normalizer_is_used_and_an_episode_can_be_left_before_its_end(
    finished_run: Run,
) -> None:
    agents, _, _ = load_agents(finished_run)
    stats = agents.obs_stats
    shifted = agents._replace(obs_stats=stats.replace(mean=stats.mean + 10.0))
    whole = episode_of(finished_run, 0, agents)
    assert not np.array_equal(whole.obs, episode_of(finished_run, 0, shifted).obs)
    part = episode_of(finished_run, 0, agents, max_steps=3)
    assert (part.num_steps, part.terminated, part.truncated) == (3, False, False)
    np.testing.assert_array_equal(part.obs, whole.obs[:4])


def test_the_last_state_is_the_one_that_ended_the_episode(finished_run: Run) -> None:
    """Not the first of the next one."""
    episode = episode_of(finished_run, 0)
    env, params = make_gymnax(finished_run.config)
    states = [episode.state(i) for i in range(episode.num_steps + 1)]
    ended = [bool(env.is_terminated(state, params)) for state in states]
    assert ended == [False] * episode.num_steps + [True]
    assert episode.terminated
    seen = np.array([env.get_obs(state) for state in states])
    np.testing.assert_array_equal(seen, episode.obs)
    np.testing.assert_array_equal(episode.returns, np.arange(episode.num_steps + 1))


def test_play_draws_a_frame_per_state(capsys: pytest.CaptureFixture[str]) -> None:
    """Catch always takes nine steps."""
    run = untrained_run("Catch-bsuite")
    assert play(run.path) == 0
    frames, shown = read_gif("run/episode.gif")
    assert len(frames) == 10
    assert shown == [100] * 10
    assert not np.array_equal(frames[0][60:], frames[-1][60:])
    assert not np.array_equal(frames[0][:60], frames[-1][:60])
    said = capsys.readouterr()
    assert re.search(
        r"Catch-bsuite, seed 5, after 0 of \d+ updates: return -?1.00 in 9 steps, terminated\n"
        "written to run/episode.gif\n",
        said.out,
    )
    assert said.err == ""
    assert {path.name for path in run.path.iterdir()} == {"run.json", "checkpoints", "episode.gif"}


@pytest.mark.parametrize("sampled", [True, False])
def test_play_another_agent_another_episode(
    sampled: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an environment that a user registered, under a name that gymnax does not know."""
    Path("my_catch.py").write_text(
        "import gymnax\n"
        "from gymnax.environments.bsuite.catch import Catch\n"
        "gymnax.register('MyCatch', Catch)\n"
    )
    monkeypatch.syspath_prepend(".")
    run = untrained_run("my_catch:MyCatch")
    options = ("--agent", "6", "--seed", SEED, "--fps", "20", "--max-steps", "7", "--allow-import")
    assert play(run.path, *options, *["--sampled"] * sampled, "--out", "a.GIF") == 0
    assert "my_catch:MyCatch, seed 6" in capsys.readouterr().out
    first, episode = (episode_of(run, i, deterministic=not sampled, max_steps=7) for i in (0, 1))
    assert not np.array_equal(first.obs, episode.obs)
    frames, shown = read_gif("a.GIF")
    assert shown == [50] * 8
    drawn = list(draw_episode(*make_gymnax(run.config), episode, "my_catch:MyCatch, seed 6"))
    for frame, expected in zip(frames, drawn, strict=True):
        assert np.abs(frame - np.asarray(expected, np.int32)).max() <= 8, "a GIF has 256 colours"


def test_play_classic_control() -> None:
    pytest.importorskip("pygame", reason="gymnasium[classic-control] draws with it")
    run = untrained_run("CartPole-v1", env_params={"length": 0.25})
    assert play(run.path, "--max-steps", "5") == 0
    frames, shown = read_gif("run/episode.gif")
    assert shown == [20] * 6
    for frame in frames:
        brown = np.all(np.abs(frame - np.array([202.0, 152.0, 101.0])) < 8, axis=-1)
        assert 500 < brown.sum() < 700, "the pole has 10 x 62 pixels, half of the usual"


@pytest.mark.parametrize("env_id", CLASSIC_CONTROL)
def test_every_classic_control_is_drawn_as_gymnax_draws_it(env_id: str) -> None:
    pytest.importorskip("pygame", reason="gymnasium[classic-control] draws with it")
    from gymnax.visualize.vis_gym import render_gym_frame

    run = untrained_run(env_id)
    episode = episode_of(run, 0, deterministic=False, max_steps=4)
    env, params = make_gymnax(run.config)
    drawn = list(draw_episode(env, params, episode, env_id))
    for i, picture in enumerate(drawn):
        title = f"{env_id}: step {i}, return {episode.returns[i]:z.2f}"
        expected = add_caption(render_gym_frame(env_id, episode.state(i), params), title)
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


def test_classic_control_is_what_gymnax_draws_with_gymnasium() -> None:
    assert set(CLASSIC_CONTROL) == set(SUPPORTED_GYM_ENVS)
    for env_id, fps in CLASSIC_CONTROL.items():
        assert gymnasium.make(env_id).metadata["render_fps"] == fps


@pytest.mark.parametrize(
    "env_id", sorted(set(gymnax.registered_envs) - {*NEEDS_DOWNLOAD, *CLASSIC_CONTROL})
)
def test_what_gymnax_draws_by_itself(env_id: str) -> None:
    """For anything else its visualizer leaves the figure empty, without a word."""
    env, params = gymnax.make(env_id)
    _, state = jax.jit(env.reset_env)(jax.random.key(0), params)
    visualizer = Visualizer(env, params, [state])
    visualizer.init()
    pyplot.close(visualizer.fig)
    assert hasattr(visualizer, "im") == (env.name in GYMNAX_FIGURES)


def test_an_environment_that_shows_images() -> None:
    """DeepSea, which gymnax does not draw: one cell of eight times eight is lit until the end."""
    run = untrained_run("DeepSea-bsuite")
    assert play(run.path) == 0
    frames, _ = read_gif("run/episode.gif")
    cells = [frame[37:437, 65:465, 0].reshape(8, 50, 8, 50).mean(axis=(1, 3)) for frame in frames]
    lit = [np.argwhere(grid > 200) for grid in cells]
    assert [len(places) for places in lit] == [1] * 8 + [0]
    assert [places[0][0] for places in lit[:8]] == list(range(8)), "a row deeper at each step"
    assert all(np.all((grid < 10) | (grid > 245)) for grid in cells)


def test_observation_images() -> None:
    grey = np.array([[[-1.0, 0.0], [1.0, 0.0]]])
    np.testing.assert_array_equal(observation_images(grey), [[[0, 128], [255, 128]]])
    np.testing.assert_array_equal(observation_images(grey[..., None]), [[[0, 128], [255, 128]]])
    colours = np.array([0.0, 1.0, 0.2]).reshape(1, 1, 1, 3)
    np.testing.assert_array_equal(observation_images(colours), [[[[0, 255, 51]]]])
    planes = np.eye(5)[None, None, :4]
    np.testing.assert_array_equal(observation_images(planes), [[[51, 102, 153, 204]]])
    np.testing.assert_array_equal(observation_images(np.ones((1, 2, 2))), np.zeros((1, 2, 2)))


def test_captions_fit() -> None:
    """The longest that there is, over the narrowest image: white is left on both sides."""
    caption = "MountainCarContinuous-v0, seed 15: step 1000, return -1234.56"
    page = np.asarray(add_caption(np.zeros((8, 2), np.uint8), caption))
    assert page.shape == (36 + 402 + 8, 530, 3)
    assert page[:36].min() < 100
    assert page[:36, :5].min() == page[:36, -5:].min() == page[:5].min() == page[32:36].min() == 255


def test_without_pillow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert play("anything") == 2
    assert "jax-ppo play needs Pillow: pip install 'jax-ppo[play]'" in capsys.readouterr().err


def test_a_gif_is_written_atomically(tmp_path: Path) -> None:
    def stop_after_two() -> Iterator[Image.Image]:
        for shade in range(2):
            yield Image.new("RGB", (4, 4), (shade, 0, 0))
        raise KeyboardInterrupt

    Path("a.gif").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        write_gif(Path("a.gif"), stop_after_two(), 10)
    assert Path("a.gif").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("", "RUN"),
        ("nowhere", "nowhere is not a run folder"),
        ("nowhere --agnet 1", "did you mean --agent"),
        ("nowhere --out episode.png", r"--out must end in \.gif, got episode.png"),
        ("nowhere --out folder.gif", "cannot write folder.gif: it is a folder"),
        ("nowhere --out nowhere/a.gif", "there is no folder nowhere"),
        ("nowhere --max-steps 0", "--max-steps must be at least 1"),
        ("nowhere --fps 0", "--fps must be from 1 to 50, got 0"),
        ("nowhere --fps 51", "--fps must be from 1 to 50, got 51"),
        ("nowhere --seed -1", "seed must be at least 0"),
        ("of_torch", "make one for jax with `jax-ppo export of_torch --to jax`"),
        ("chain", "no picture of MemoryChain-bsuite; there is one of .*CartPole-v1,.*Pong-misc"),
        ("catch", "catch has no checkpoint that can be read"),
        ("catch --agent 4", "catch has no agent of seed 4; known: seeds 5 to 6"),
        ("pole", r"drawn with pygame.*: pip install 'jax-ppo\[play\]'"),
    ],
)
def test_mistakes(
    words: str,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr, in two lines or in tyro's box, before anything is compiled or written."""
    monkeypatch.setitem(sys.modules, "pygame", None)
    Path("folder.gif").mkdir()
    for name, env_id, framework in (
        ("of_torch", "CartPole-v1", "torch"),
        ("chain", "MemoryChain-bsuite", "jax"),
        ("catch", "Catch-bsuite", "jax"),
        ("pole", "CartPole-v1", "jax"),
    ):
        create_run(Path(name), PPOConfig(env_id), RunSettings(5, NUM_AGENTS), framework)
    before = set(tmp_path.rglob("*"))
    with count_compilations() as compilations:
        assert play(*words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") or "For full helptext" in said.err
    assert not words or len(said.err.splitlines()) <= 2
    assert re.search(complaint, said.err), said.err
    assert set(tmp_path.rglob("*")) == before
    assert max(compilations, default=0.0) < 1.0
