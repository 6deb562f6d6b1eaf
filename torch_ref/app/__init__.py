"""The program around the reference: command line, run folders, checkpoints.

It shares all that knows no framework with `jax_ppo.app`, so that the runs of both look the same.
"""
