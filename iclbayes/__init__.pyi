from . import laws as laws
from . import llm as llm
from . import posterior as posterior
from .comparison import compare as compare
from .curves import Curves as Curves
from .errors import InputError as InputError
from .examples import example_curves as example_curves
from .fits import Fits as Fits
from .fits import fit as fit
from .fitting import FitResult as FitResult
from .fitting import Status as Status
from .fitting import fit_curve as fit_curve
from .fitting import fit_group as fit_group
from .mixed import fit_mixed as fit_mixed
from .reading import curves_from_frame as curves_from_frame
from .reading import read_curves as read_curves
from .runtime import use_cache as use_cache

__version__: str
