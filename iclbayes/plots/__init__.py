"""Figures, one style for all.

What is drawn in one panel comes back as matplotlib axes, and is drawn in `ax=` where that is given: `plot_band`, `plot_fit`,
`plot_shift`, `plot_errors`, `plot_reach`, `plot_intervals`, `plot_stacking`, `plot_tasks`, `plot_calibration`.

What has a panel for each curve, parameter or condition comes back as a figure, and is drawn in `figure=` where that is given, a
figure of constrained layout or a part of one (`Figure.subfigures`): `plot_bands`, `plot_overlay`, `plot_fits`, `plot_contrast`,
`plot_task_weights`, `plot_lines`, `plot_parameter`. `save` writes either.
"""

from .bands import plot_band as plot_band
from .bands import plot_bands as plot_bands
from .bands import plot_overlay as plot_overlay
from .calibration import plot_calibration as plot_calibration
from .contrasts import plot_contrast as plot_contrast
from .contrasts import plot_shift as plot_shift
from .contrasts import plot_task_weights as plot_task_weights
from .errors import plot_errors as plot_errors
from .fits import plot_fit as plot_fit
from .fits import plot_fits as plot_fits
from .layout import finish as finish
from .layout import n_pages as n_pages
from .layout import panels_of as panels_of
from .layout import save_pages as save_pages
from .lines import line_with_band as line_with_band
from .lines import plot_lines as plot_lines
from .parameters import plot_intervals as plot_intervals
from .parameters import plot_parameter as plot_parameter
from .reach import plot_reach as plot_reach
from .stacking import plot_stacking as plot_stacking
from .style import MARKERS as MARKERS
from .style import PALETTE as PALETTE
from .style import check_suffix as check_suffix
from .style import color as color
from .style import dress as dress
from .style import figure_of as figure_of
from .style import law_label as law_label
from .style import look as look
from .style import panel_title as panel_title
from .style import panels as panels
from .style import save as save
from .style import shared_legend as shared_legend
from .style import shots_axis as shots_axis
from .tasks import plot_tasks as plot_tasks
