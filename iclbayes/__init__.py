"""iclbayes: Bayesian scaling laws for in-context learning.

The names are listed in `__init__.pyi`, which type checkers read too; each is imported when it is first used, so that
`import iclbayes` costs next to nothing.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
