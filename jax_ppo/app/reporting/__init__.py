"""Reading runs: what looks wrong with one, all of it on a page, several side by side."""
