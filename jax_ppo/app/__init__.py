"""All that touches the world: command line, run folders, checkpoints, logs, progress, pictures."""
