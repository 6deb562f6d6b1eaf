"""Pictures as data, and the two ways to draw them: PNG files and interactive pages."""
