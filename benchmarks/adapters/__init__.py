"""Scripts with_NAME.py, one per implementation, each run by that implementation's own Python."""
