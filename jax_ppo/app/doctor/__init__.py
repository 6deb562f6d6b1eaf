"""Rules that look for faults in the metrics of a run and in its environment."""
