"""Named experiments on the parts of PPO."""
