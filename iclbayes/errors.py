"""What the package raises when the user can mend something, and what it warns of."""


class InputError(ValueError):
    """A mistake in what the user gave: one line saying what is wrong, where, and what to do about it."""


class CurvesWarning(UserWarning):
    """Curves were read, but perhaps not as they were meant."""
