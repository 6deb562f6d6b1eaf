"""Evaluation: one episode from every environment, and nothing learned on the way."""

from functools import partial
from typing import Any

import pytest
import torch

from jax_ppo.config import ConfigError, PPOConfig
from tests.reference.conftest import watched
from torch_ref import RunningStats, evaluate_policy, from_gymnasium, make_network, ppo, train


def evaluate(generator: torch.Generator, config: PPOConfig, env: Any, **options: Any) -> Any:
    """Episodes of a new agent in an environment of the test's own."""
    params = make_network(config, env).init(generator)
    return evaluate_policy(
        generator, params, None, config, algorithm_fn=partial(ppo, env=env), **options
    )


def test_each_environment_contributes_exactly_one_episode(
    clock: Any, tiny_config: PPOConfig, generator: torch.Generator
) -> None:
    """Short episodes are over long before the longest is; what follows them must not count."""
    lengths = iter([9, 2, 7, 3])  # the first is only looked at
    env = from_gymnasium(lambda: clock(terminate_at=next(lengths)))
    results = evaluate(generator, tiny_config, env, num_episodes=3, max_steps=50)
    assert results.episode_length.tolist() == [2, 7, 3]
    assert results.episode_return.tolist() == [2, 7, 3]
    assert results.finished.all()


@pytest.mark.parametrize("ending", [{"terminate_at": 4}, {"truncate_at": 4}, {}])
def test_either_ending_finishes_an_episode_and_max_steps_does_not(
    clock: Any, tiny_config: PPOConfig, generator: torch.Generator, ending: dict[str, int]
) -> None:
    env = from_gymnasium(partial(clock, **ending))
    results = evaluate(generator, tiny_config, env, num_episodes=2, max_steps=6)
    assert results.finished.tolist() == [bool(ending)] * 2
    assert results.episode_length.tolist() == [4 if ending else 6] * 2


def test_the_mode_is_taken_unless_samples_are_asked_for(
    tiny_config: PPOConfig, generator: torch.Generator
) -> None:
    """Two logits that nearly tie: the mode always pushes one way, samples go both."""
    params = ppo(tiny_config).init(generator).params
    params = {name: torch.zeros_like(param) for name, param in params.items()}
    params["policy_head.bias"] = torch.tensor([0.1, 0.0])
    episodes = partial(evaluate_policy, generator, params, None, tiny_config, num_episodes=20)
    mode, sampled = episodes(), episodes(deterministic=False)
    assert mode.episode_length.max() <= 11, "pushed one way only, the pole falls at once"
    assert sampled.episode_length.max() > 11


def test_observations_are_normalized_with_the_statistics(
    tiny_config: PPOConfig, generator: torch.Generator
) -> None:
    params = ppo(tiny_config).init(generator).params
    seen: list[torch.Tensor] = []
    stats = RunningStats(torch.full((4,), 5.0), torch.full((4,), 4.0), torch.tensor(9.0))
    evaluate_policy(
        generator, params, stats, tiny_config, algorithm_fn=watched(seen.append), num_episodes=2
    )
    # All of CartPole's first observations are within 0.05 of 0, and (0 - 5) / sqrt(4) = -2.5
    torch.testing.assert_close(seen[0], torch.full((2, 4), -2.5), rtol=0, atol=0.03)


def test_nothing_is_changed(tiny_config: PPOConfig, generator: torch.Generator) -> None:
    config = tiny_config.replace(normalize_observations=True)
    state, _ = train(generator, config)
    before = {name: param.clone() for name, param in state.params.items()}
    draws = generator.get_state()
    stats = state.rollout.obs_stats
    first, again = (
        evaluate_policy(generator, state.params, stats, config, num_episodes=3) for _ in range(2)
    )
    assert torch.equal(first.episode_return, again.episode_return)
    assert torch.equal(draws, generator.get_state())
    assert all(torch.equal(before[name], state.params[name]) for name in before)


@pytest.mark.parametrize(
    ("env_id", "options", "message"),
    [
        ("CliffWalking-v1", {}, "pass max_steps"),
        ("CartPole-v1", {"num_episodes": 0}, "must be at least 1, got 0 and 500"),
        ("CartPole-v1", {"num_episodes": 2, "max_steps": 0}, "must be at least 1, got 2 and 0"),
    ],
)
def test_what_is_refused(
    env_id: str, options: Any, message: str, tiny_config: PPOConfig, generator: torch.Generator
) -> None:
    """CliffWalking has no time limit."""
    config = tiny_config.replace(env_id=env_id)
    params = ppo(config).init(generator).params
    with pytest.raises(ConfigError, match=message):
        evaluate_policy(generator, params, None, config, **options)
