"""Hyperparameters that are known to learn, per environment."""

from jax_ppo.config import PPOConfig

MINATAR = PPOConfig(
    total_steps=10_000_000,
    num_envs=64,
    num_steps=128,
    update_epochs=4,
    num_minibatches=8,
    learning_rate=3e-3,
    ent_coef=0.01,
    network="mlp",
    activation="relu",
)
"""What the presets of the MinAtar games have in common; on a CPU an MLP is several times as fast
as convolutions."""

WIDE = PPOConfig(num_envs=64, num_steps=100, num_minibatches=16)
"""What the presets of tasks with noisy returns have in common: large batches."""

PRESETS: dict[str, PPOConfig] = {
    "CartPole-v1": PPOConfig(learning_rate=2e-3),
    "Pendulum-v1": PPOConfig(
        env_id="Pendulum-v1",
        total_steps=300_000,
        num_envs=8,
        num_steps=256,
        update_epochs=10,
        num_minibatches=32,
        learning_rate=1e-3,
        gamma=0.9,
    ),
    "Acrobot-v1": PPOConfig(
        env_id="Acrobot-v1", total_steps=500_000, learning_rate=2e-3, ent_coef=0.01
    ),
    "MountainCar-v0": PPOConfig(
        env_id="MountainCar-v0",
        total_steps=1_000_000,
        num_envs=64,
        num_steps=256,
        num_minibatches=16,
        learning_rate=3e-3,
        gae_lambda=0.98,
        ent_coef=0.01,
        normalize_observations=True,
        normalize_rewards=True,
    ),
    "MountainCarContinuous-v0": PPOConfig(
        env_id="MountainCarContinuous-v0",
        total_steps=1_000_000,
        num_envs=16,
        num_steps=512,
        num_minibatches=16,
        gamma=0.999,
        gae_lambda=0.98,
        normalize_observations=True,
        normalize_rewards=True,
        log_std_init=1.0,
    ),
    "Asterix-MinAtar": MINATAR.replace(env_id="Asterix-MinAtar"),
    "Breakout-MinAtar": MINATAR.replace(
        env_id="Breakout-MinAtar", learning_rate=2e-3, ent_coef=0.05
    ),
    "Freeway-MinAtar": MINATAR.replace(env_id="Freeway-MinAtar", learning_rate=1e-3),
    "Seaquest-MinAtar": MINATAR.replace(env_id="Seaquest-MinAtar", ent_coef=0.05),
    "SpaceInvaders-MinAtar": MINATAR.replace(env_id="SpaceInvaders-MinAtar"),
    "Catch-bsuite": PPOConfig(env_id="Catch-bsuite"),
    "DeepSea-bsuite": PPOConfig(
        env_id="DeepSea-bsuite",
        total_steps=300_000,
        num_envs=256,
        num_minibatches=16,
        learning_rate=3e-4,
        ent_coef=0.05,
    ),
    "MemoryChain-bsuite": PPOConfig(env_id="MemoryChain-bsuite", total_steps=50_000),
    "UmbrellaChain-bsuite": PPOConfig(env_id="UmbrellaChain-bsuite"),
    "DiscountingChain-bsuite": PPOConfig(env_id="DiscountingChain-bsuite", gamma=0.9),
    "SimpleBandit-bsuite": PPOConfig(env_id="SimpleBandit-bsuite", total_steps=50_000),
    "FourRooms-misc": PPOConfig(env_id="FourRooms-misc", ent_coef=0.01),
    "MetaMaze-misc": WIDE.replace(
        env_id="MetaMaze-misc",
        total_steps=2_000_000,
        num_steps=64,
        num_minibatches=8,
        ent_coef=0.01,
    ),
    "PointRobot-misc": WIDE.replace(
        env_id="PointRobot-misc", total_steps=2_000_000, log_std_init=-1.0
    ),
    "BernoulliBandit-misc": WIDE.replace(env_id="BernoulliBandit-misc", total_steps=300_000),
    "GaussianBandit-misc": WIDE.replace(
        env_id="GaussianBandit-misc",
        total_steps=1_000_000,
        num_envs=256,
        learning_rate=3e-3,
        gamma=1.0,
        ent_coef=0.003,
    ),
    "Reacher-misc": WIDE.replace(env_id="Reacher-misc", total_steps=1_000_000, gamma=0.95),
    "Swimmer-misc": PPOConfig(env_id="Swimmer-misc", total_steps=500_000, normalize_rewards=True),
    "Pong-misc": MINATAR.replace(
        env_id="Pong-misc", total_steps=200_000, num_steps=32, learning_rate=2e-3
    ),
    "FrozenLake-misc": PPOConfig(
        env_id="FrozenLake-misc",
        total_steps=300_000,
        num_envs=64,
        learning_rate=3e-4,
        ent_coef=0.01,
    ),
}
"""Configs by environment name; each field that is not given keeps its default."""

THRESHOLDS: dict[str, float] = {
    "CartPole-v1": 475.0,
    "Pendulum-v1": -250.0,
    "Acrobot-v1": -100.0,
    "MountainCar-v0": -110.0,
    "MountainCarContinuous-v0": 90.0,
    "Asterix-MinAtar": 10.0,
    "Breakout-MinAtar": 15.0,
    "Freeway-MinAtar": 50.0,
    "Seaquest-MinAtar": 10.0,
    "SpaceInvaders-MinAtar": 100.0,
    "Catch-bsuite": 0.95,
    "DeepSea-bsuite": 0.9,
    "UmbrellaChain-bsuite": 0.8,
    "DiscountingChain-bsuite": 1.09,
    "FourRooms-misc": 0.99,
    "MetaMaze-misc": 30.0,
    "BernoulliBandit-misc": 80.0,
    "GaussianBandit-misc": 4.0,
    "Reacher-misc": 33.0,
    "Swimmer-misc": 350.0,
    "Pong-misc": 900.0,
    "FrozenLake-misc": 0.7,
}
"""Episode return during training from which a task counts as learned, by environment."""

NOTES: dict[str, str] = {
    "MemoryChain-bsuite": "what to answer is shown only in the first step, and the policy has no "
    "memory: 0, which is chance, is all that it can reach.",
    "SimpleBandit-bsuite": "gymnax shuffles the arms anew for every episode of one step, and the "
    "observation is constant: 0.5, the mean of all arms, is all that any policy can reach.",
    "PointRobot-misc": "the goal is not shown and changes with every episode, so that a policy "
    "without memory can do little but patrol the arc on which goals lie.",
    "BernoulliBandit-misc": "without memory there is little but to stay after a reward and to "
    "change after none, which gives 81.7; only remembering rewards would come near 90.",
    "GaussianBandit-misc": "without memory 7.2 could be reached: try the second arm once, and stay "
    "if it paid. Drawn actions learn that, but with the trial spread over the first few steps, at "
    "a probability of less than one half in each; the most probable actions rarely try at all.",
}
"""Why an environment is not solved, by its name."""


def preset(env_id: str) -> PPOConfig:
    """The preset of an environment or, where there is none, the defaults with that env_id.

    Args:
        env_id: Name of the environment, as gymnax registers it.
    """
    return PRESETS.get(env_id, PPOConfig(env_id=env_id))
