"""Tests of the PyTorch side alone."""
