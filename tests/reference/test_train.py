"""Training from end to end: reproducible, in either precision, and able to learn."""

from functools import partial
from typing import Any

import pytest
import torch
from gymnasium import spaces

from jax_ppo.config import ConfigError, PPOConfig
from tests.reference.conftest import watched
from torch_ref import (
    collect_rollout,
    compute_gae,
    draw_randomness,
    evaluate_policy,
    from_gymnasium,
    make_batch,
    make_env,
    make_network,
    ppo,
    ppo_loss,
    train,
)
from torch_ref.optimizers import sgd
from torch_ref.schedules import linear

SETTINGS = {
    "discrete": {},
    "continuous": {"env_id": "Pendulum-v1"},
    "normalized": {"normalize_observations": True, "normalize_rewards": True},
    "penalized": {"kl_coef": 0.3, "value_clip_eps": 0.2, "clip_eps_schedule": "linear"},
    "warmed up": {
        "optimizer": "rmsprop",
        "learning_rate_warmup": 0.5,
        "learning_rate_schedule": "cosine",
    },
    "stopped": {"target_kl": 1e-9, "optimizer": "adamw", "weight_decay": 0.1},
    "one-hot": {"env_id": "FrozenLake-v1", "initializer": "default", "shared_trunk": True},
}


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS.keys())
def config(request: pytest.FixtureRequest, tiny_config: PPOConfig) -> PPOConfig:
    """The tiny config with each of several features."""
    return tiny_config.replace(**request.param)


def test_the_same_seed_gives_the_same_agent_and_a_row_of_metrics_per_update(
    config: PPOConfig, generator: torch.Generator
) -> None:
    """And the generator is left as it was."""
    before = generator.get_state()
    (one, metrics), (other, again) = (train(generator, config) for _ in range(2))
    assert torch.equal(before, generator.get_state())
    assert all(torch.equal(one.params[name], other.params[name]) for name in one.params)
    assert one.update == config.num_updates == 3
    for name, values in metrics.as_dict().items():
        assert torch.equal(values.nan_to_num(7.0), again.as_dict()[name].nan_to_num(7.0))
        assert values.shape == (3,)
        assert name.startswith("episode_") or torch.isfinite(values).all()


def test_another_seed_gives_another_agent(tiny_config: PPOConfig) -> None:
    one, other = (train(torch.Generator().manual_seed(seed), tiny_config)[0] for seed in (0, 1))
    assert not torch.equal(one.params["value_head.weight"], other.params["value_head.weight"])


def test_a_train_step_leaves_its_state_as_it_was(
    config: PPOConfig, generator: torch.Generator
) -> None:
    """All but the environments, which Gymnasium changes as they step."""
    algorithm = ppo(config)
    state = algorithm.init(generator)
    tensors = [*state.params.values(), *state.opt_state.nu.values(), state.rollout.obs]
    copies = [tensor.clone() for tensor in tensors]
    draws = state.generator.get_state()
    after, _ = algorithm.step(state)
    assert torch.equal(draws, state.generator.get_state())
    assert not torch.equal(draws, after.generator.get_state())
    assert state.update == 0
    assert all(map(torch.equal, tensors, copies))


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_everything_follows_the_default_dtype(
    env_id: str, tiny_config: PPOConfig, generator: torch.Generator, float64: None
) -> None:
    config = tiny_config.replace(
        env_id=env_id, normalize_observations=True, normalize_rewards=True, kl_coef=0.1
    )
    state, metrics = train(generator, config)
    values = [*state.params.values(), *state.opt_state.nu.values(), *metrics.as_dict().values()]
    values += [state.rollout.obs, state.rollout.obs_stats.var, state.kl_coef]
    floating = [value.dtype for value in values if value.is_floating_point()]
    assert set(floating) == {torch.float64}


def test_a_rollout_keeps_no_graph(tiny_config: PPOConfig, generator: torch.Generator) -> None:
    algorithm = ppo(tiny_config)
    parts = {"config": tiny_config, "env": algorithm.env, "network": algorithm.network}
    state = algorithm.init(generator)
    draws = draw_randomness(generator, tiny_config, algorithm.env)
    params = {name: param.requires_grad_() for name, param in state.params.items()}
    _, transitions, _ = collect_rollout(state.rollout, params, draws.noise, draws.env_keys, **parts)
    batch = make_batch(params, transitions, tiny_config.replace(kl_coef=0.1), algorithm.network)
    assert not any(tensor.requires_grad for tensor in (batch.old_value, batch.old_log_prob))
    assert not batch.old_distribution.logits.requires_grad


def test_draws_have_the_shapes_of_one_train_step(
    tiny_config: PPOConfig, generator: torch.Generator
) -> None:
    draws = draw_randomness(generator, tiny_config, make_env(tiny_config))
    assert draws.noise.shape == (8, 4, 2)
    assert draws.env_keys.shape == (8, 4)
    assert draws.env_keys.dtype == torch.int64
    assert (draws.env_keys >= 0).all(), "Gymnasium takes no negative seeds"
    assert torch.equal(draws.permutations.sort(dim=1).values, torch.arange(32).expand(2, 32))
    assert not torch.equal(*draws.permutations)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("highest", "highest"), ("high", "high"), ("default", "high")]
)
def test_the_matmul_precision_holds_during_training_only(
    ours: Any, theirs: str, tiny_config: PPOConfig, generator: torch.Generator
) -> None:
    seen = set()
    before = torch.get_float32_matmul_precision()
    config = tiny_config.replace(matmul_precision=ours)
    train(generator, config, watched(lambda _: seen.add(torch.get_float32_matmul_precision())))
    assert seen == {theirs}
    assert torch.get_float32_matmul_precision() == before


def test_config_errors_come_before_anything_runs(
    tiny_config: PPOConfig, generator: torch.Generator
) -> None:
    with pytest.raises(ConfigError, match="Blackjack"):
        train(generator, tiny_config.replace(env_id="Blackjack-v1"))
    with pytest.raises(ConfigError, match="image"):
        train(generator, tiny_config.replace(network="cnn"))


def test_every_part_of_ones_own_is_used(tiny_config: PPOConfig, generator: torch.Generator) -> None:
    """Each is called, and with the arguments of the usual one."""
    usual = {
        "advantage_fn": compute_gae,
        "loss_fn": ppo_loss,
        "optimizer_fn": sgd,
        "learning_rate_schedule": linear,
    }
    called = set()

    def recording(name: str) -> Any:
        def function(*args: Any, **kwargs: Any) -> Any:
            called.add(name)
            return usual[name](*args, **kwargs)

        return function

    parts = {name: recording(name) for name in usual}
    state, metrics = train(generator, tiny_config, partial(ppo, **parts))
    assert called == set(usual)
    expected, same = train(generator, tiny_config.replace(optimizer="sgd"))
    assert all(torch.equal(state.params[name], expected.params[name]) for name in expected.params)
    assert torch.equal(metrics.learning_rate, same.learning_rate)


def test_anything_but_a_config_is_refused(generator: torch.Generator) -> None:
    with pytest.raises(TypeError, match=r"got dict; arguments are \(generator, config\)"):
        train(generator, {})  # type: ignore[arg-type]


# Learning, from the smallest thing to CartPole


def probe(generator: torch.Generator, make: Any, sight: float = 0.0, **changes: Any) -> Any:
    """Policy and value at an observation after training, and the metrics of the training."""
    config = PPOConfig(
        total_steps=8192, num_envs=8, num_steps=16, update_epochs=4, learning_rate=1e-2, **changes
    )
    env = from_gymnasium(make)
    state, metrics = train(generator, config, partial(ppo, env=env))
    obs = torch.full((1, 1), sight)
    return *make_network(config, env).apply(state.params, obs), metrics


def test_the_critic_learns_a_constant_reward(clock: Any, generator: torch.Generator) -> None:
    """One step, reward 1: V = 1."""
    _, values, _ = probe(generator, partial(clock, terminate_at=1))
    assert values.item() == pytest.approx(1.0, abs=0.02)


def test_a_truncated_episode_goes_on_in_the_value(clock: Any, generator: torch.Generator) -> None:
    """Reward 1 for ever, cut every 4 steps, always the same sight: V = 1 / (1 - gamma) = 2."""

    def make() -> Any:
        env = clock(truncate_at=4)
        env.see = lambda: torch.ones(1).numpy()
        return env

    _, values, _ = probe(generator, make, sight=1.0, gamma=0.5)
    assert values.item() == pytest.approx(2.0, abs=0.05)


def test_the_policy_learns_which_action_pays(clock: Any, generator: torch.Generator) -> None:
    make = partial(clock, terminate_at=1, reward=lambda action: float(2 * action - 1))
    policy, _, metrics = probe(generator, make)
    assert torch.exp(policy.log_prob(torch.tensor([1]))).item() > 0.95
    assert metrics.episode_return[-1] > 0.9


def test_the_policy_learns_a_real_action(clock: Any, generator: torch.Generator) -> None:
    """A reward of -(a - 0.5)^2: the mean comes to 0.5."""
    make = partial(
        clock,
        terminate_at=1,
        reward=lambda action: -float((action[0] - 0.5) ** 2),
        action_space=spaces.Box(-10.0, 10.0, (1,)),
    )
    policy, _, _ = probe(generator, make)
    assert policy.mode().item() == pytest.approx(0.5, abs=0.1)


def test_cartpole_is_learned(generator: torch.Generator) -> None:
    config = PPOConfig(total_steps=50_000)
    state, _ = train(generator, config)
    results = evaluate_policy(
        generator, state.params, state.rollout.obs_stats, config, num_episodes=20
    )
    assert results.episode_return.mean() >= 400
