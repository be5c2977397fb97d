"""What the package raises when the user can mend something, and what it warns of."""


class InputError(ValueError):
    """A mistake in what the user gave: one line saying what is wrong, where, and what to do about it."""


class CurvesWarning(UserWarning):
    """Curves were read, but perhaps not as they were meant."""


def one_line(error: BaseException, most: int = 160) -> str:
    """An error's text in one line, cut between words."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " …"
