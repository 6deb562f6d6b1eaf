"""The same results in the form that each backend computes fastest. No chapter is imported here."""
