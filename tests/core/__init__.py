"""Tests of the pure core, a file for each of its chapters."""
