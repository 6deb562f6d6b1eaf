"""The errors that a user can do something about."""


class AppError(Exception):
    """Something outside the program is wrong; the message says what, and what to do."""
