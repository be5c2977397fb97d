"""What the package raises when the user can mend something."""


class InputError(ValueError):
    """A mistake in what the user gave: one line saying what is wrong, where, and what to do about it."""
