"""Suppression and return: fine-tuning that favours one task, what it changed, and when the others come back."""

from .before_after import SHIFT_PRIOR as SHIFT_PRIOR
from .before_after import BeforeAfter as BeforeAfter
from .before_after import CurvePair as CurvePair
from .before_after import ShiftPrior as ShiftPrior
from .before_after import curves_of as curves_of
from .before_after import point_draws as point_draws
from .before_after import posterior_draws as posterior_draws
from .before_after import shots_to_level as shots_to_level
from .figures import figures as figures
from .figures import plot_forecast as plot_forecast
from .reemergence import forecast as forecast
from .reemergence import forecast_summary as forecast_summary
from .reemergence import plateau as plateau
from .reemergence import shots_back as shots_back
from .report import analyse as analyse
from .report import summaries as summaries
from .sharing import HYPOTHESES as HYPOTHESES
from .sharing import amount_curves as amount_curves
from .sharing import attribution as attribution
from .sharing import compare_sharing as compare_sharing
from .sharing import shifts as shifts
from .tuning import Tuning as Tuning
from .tuning import pretrained_curves as pretrained_curves
from .tuning import tune as tune
from .tuning import tune_amounts as tune_amounts
from .tuning import tuning_data as tuning_data
