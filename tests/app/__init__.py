"""Tests of the program: command line, run folders, checkpoints, resuming, pictures."""
