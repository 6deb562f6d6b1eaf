"""Sweeps: many settings, each on several seeds, ranked."""
