"""Sweeps: many settings, each trained by several agents, and ranked."""
