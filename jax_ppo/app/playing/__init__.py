"""Watching agents: episodes as pictures."""
