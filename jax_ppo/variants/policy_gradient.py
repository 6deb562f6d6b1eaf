"""REINFORCE, REINFORCE with a baseline, and A2C: the algorithms that PPO's clipping came after.

Each is PPO with another config and, where it estimates advantages in another way, another
advantage_fn. The optimizer, the networks, the rollout and the coefficients that are not named stay
the config's. `a2c_loss` is the loss of A2C as its paper has it, to compare with.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jax_ppo.advantages import compute_gae
from jax_ppo.config import PPOConfig
from jax_ppo.distributions import Distribution
from jax_ppo.envs import Environment
from jax_ppo.losses import value_loss
from jax_ppo.networks import Network
from jax_ppo.ppo import Algorithm, ppo
from jax_ppo.types import Batch, Metrics

NO_CLIPPING = 1e6
"""A clip_eps that no probability ratio reaches: every ratio is above 1 - 10^6 and below 10^6."""


def a2c(
    config: PPOConfig, env: Environment | None = None, network: Network | None = None, **parts: Any
) -> Algorithm:
    """Advantage actor-critic: PPO with `a2c_config`.

    Args:
        config: What to train; A2C's authors use optimizer = rmsprop.
        env: As for `ppo`.
        network: As for `ppo`.
        **parts: Keyword arguments of `ppo`.
    """
    return ppo(a2c_config(config), env, network, **parts)


def reinforce_with_baseline(
    config: PPOConfig, env: Environment | None = None, network: Network | None = None, **parts: Any
) -> Algorithm:
    """REINFORCE with a learned baseline: PPO with `baseline_config` and `baseline_advantages`.

    Args:
        config: What to train.
        env: As for `ppo`.
        network: As for `ppo`.
        **parts: Keyword arguments of `ppo`.
    """
    parts = {"advantage_fn": baseline_advantages, **parts}
    return ppo(baseline_config(config), env, network, **parts)


def reinforce(
    config: PPOConfig, env: Environment | None = None, network: Network | None = None, **parts: Any
) -> Algorithm:
    """REINFORCE: PPO with `reinforce_config` and `monte_carlo_returns`.

    Args:
        config: What to train.
        env: As for `ppo`.
        network: As for `ppo`.
        **parts: Keyword arguments of `ppo`.
    """
    parts = {"advantage_fn": monte_carlo_returns, **parts}
    return ppo(reinforce_config(config), env, network, **parts)


def a2c_config(config: PPOConfig) -> PPOConfig:
    """The config with which PPO is A2C: each rollout is used whole, once, and nothing is clipped.

    In the only gradient step the policy is still the one that acted, so r = 1 and
    grad r = grad log pi: the gradient of the surrogate -mean(r A) is that of -mean(log pi A), for
    every clip_eps. With lambda = 1, A_t = sum_k gamma^k r_{t+k} + gamma^n V(s_{t+n}) - V(s_t), up
    to the end of the rollout or of the episode: returns of up to num_steps steps.

    Args:
        config: What to train; its optimizer is kept, where A2C's authors use RMSProp.

    Source: Huang et al. (2022), "A2C is a special case of PPO"; A2C is the synchronous form of
    Mnih et al. (2016), "Asynchronous methods for deep reinforcement learning", algorithm S3.
    """
    return config.replace(
        update_epochs=1,
        num_minibatches=1,
        advantage_normalization="none",
        gae_lambda=1.0,
        clip_eps=NO_CLIPPING,
        clip_eps_schedule="constant",
        value_clip_eps=None,
        target_kl=None,
        kl_coef=None,
    )


def baseline_config(config: PPOConfig) -> PPOConfig:
    """The config of REINFORCE with a learned baseline, for `baseline_advantages`.

    grad J ~ mean((G_t - V(s_t)) grad log pi(a_t|s_t)), without an entropy bonus. The critic is
    fitted to G_t and subtracted; unlike A2C's, it is not used to bootstrap.

    Args:
        config: What to train.

    Source: Williams (1992), "Simple statistical gradient-following algorithms for connectionist
    reinforcement learning", section 4 (reinforcement baselines); Sutton et al. (1999), "Policy
    gradient methods for reinforcement learning with function approximation", section 1.
    """
    return a2c_config(config).replace(ent_coef=0.0)


def reinforce_config(config: PPOConfig) -> PPOConfig:
    """The config of REINFORCE, for `monte_carlo_returns`: no critic, no entropy bonus.

    grad J ~ mean(G_t grad log pi(a_t|s_t)), with one step of the optimizer for each rollout.

    Args:
        config: What to train.

    Source: Williams (1992), section 5 (episodic REINFORCE), with the
    rewards that follow an action in place of the whole return.
    """
    return baseline_config(config).replace(vf_coef=0.0)


def monte_carlo_returns(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    *,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array | float,
    gae_lambda: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """Monte Carlo returns, G_t = r_t + gamma (1 - done_t) G_{t+1}, without a critic.

    This is GAE with V = 0 and lambda = 1, where done_t = terminated_t or truncated_t.

    Nothing is bootstrapped: the sum stops at a time limit, as at a termination, and at the end of
    the rollout. The gradient is thus that of the return within the rollout, without bias if
    gamma = 1. Leaving unfinished episodes out would bias it: whether an episode is finished depends
    on the actions. The returns of the last steps of a rollout are too small, so num_steps should be
    several episodes, or at least several times 1 / (1 - gamma).

    Args:
        rewards: r_t [num_steps, num_envs].
        values: Not used [num_steps, num_envs].
        next_values: Not used [num_steps, num_envs].
        terminated: [num_steps, num_envs], bool.
        truncated: [num_steps, num_envs], bool.
        gamma: Discount per step, in [0, 1].
        gae_lambda: Not used.

    Returns:
        G twice, as advantages and as returns, both [num_steps, num_envs].

    Source: Williams (1992), section 5; Sutton and Barto (2018), section 13.3.
    """
    nothing = jnp.zeros_like(values)
    return compute_gae(
        rewards,
        nothing,
        nothing,
        terminated=terminated,
        truncated=truncated,
        gamma=gamma,
        gae_lambda=1.0,
    )


def baseline_advantages(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    *,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array | float,
    gae_lambda: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """G_t - V(s_t), with G_t as in `monte_carlo_returns`, and the value targets G_t.

    A baseline that depends on the state alone changes the spread of the gradient, not its mean,
    since E[grad log pi(a|s)] = 0.

    Args:
        rewards: r_t [num_steps, num_envs].
        values: V(s_t), the baseline [num_steps, num_envs].
        next_values: Not used [num_steps, num_envs].
        terminated: [num_steps, num_envs], bool.
        truncated: [num_steps, num_envs], bool.
        gamma: Discount per step, in [0, 1].
        gae_lambda: Not used.

    Returns:
        Advantages and returns, both [num_steps, num_envs].

    Source: Williams (1992), section 4; Sutton and Barto (2018), section 13.4.
    """
    returns, _ = monte_carlo_returns(
        rewards,
        values,
        next_values,
        terminated=terminated,
        truncated=truncated,
        gamma=gamma,
        gae_lambda=gae_lambda,
    )
    return returns - values, returns


def policy_gradient_loss(log_prob: jax.Array, advantages: jax.Array) -> jax.Array:
    """-mean(log pi(a|s) A): its gradient is the policy gradient, its value means nothing.

    Args:
        log_prob: log pi(a|s) of the policy that acted [batch_size].
        advantages: A, or returns in their place [batch_size].

    Returns:
        The loss [], to be minimized.

    Source: Williams (1992), theorem 1; Sutton et al. (1999), theorem 1.
    """
    return -jnp.mean(log_prob * advantages)


def a2c_loss(
    distribution: Distribution,
    values: jax.Array,
    batch: Batch,
    config: PPOConfig,
    *,
    clip_eps: jax.Array | float | None = None,
    kl_coef: jax.Array | float | None = None,
) -> tuple[jax.Array, Metrics]:
    """-mean(log pi A) + vf_coef value_loss - ent_coef entropy: without a probability ratio.

    Args:
        distribution: The current policy at batch.obs, batch shape [batch_size].
        values: The current critic at batch.obs [batch_size].
        batch: The samples; old_log_prob is not used.
        config: Gives vf_coef and ent_coef.
        clip_eps: Not used; it is here so that this can be a loss_fn.
        kl_coef: Not used.

    Returns:
        The loss [] and its metrics: loss, policy_loss, value_loss, entropy.

    Source: Mnih et al. (2016), section 4 and algorithm S3; the two losses are added up with
    weights as in its implementations, since policy and critic may share parameters.
    """
    policy = policy_gradient_loss(distribution.log_prob(batch.action), batch.advantages)
    value = value_loss(values, batch.old_value, batch.returns)
    entropy = jnp.mean(distribution.entropy())
    loss = policy + config.vf_coef * value - config.ent_coef * entropy
    return loss, Metrics(loss=loss, policy_loss=policy, value_loss=value, entropy=entropy)
