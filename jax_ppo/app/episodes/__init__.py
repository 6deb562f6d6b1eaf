"""Episodes of trained agents, recorded and drawn."""
