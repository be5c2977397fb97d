"""Old names that still work for one version, and say so."""

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def deprecated(instead: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Decorator of a function of an old name; each call warns (`DeprecationWarning`) that `instead` is the name now."""

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @functools.wraps(function)
        def called(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
            warnings.warn(
                f"{function.__qualname__} is called {instead} now; the old name goes with the next version",
                DeprecationWarning,
                stacklevel=2,
            )
            return function(*args, **options)

        return called

    return decorate
