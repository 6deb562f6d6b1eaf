"""Tests of what concerns one side alone; what both sides share is in parity_tests."""
