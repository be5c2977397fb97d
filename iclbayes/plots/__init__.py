"""Figures. Every function returns a matplotlib figure (or the axes that it drew in), `save` writes it; one style for all."""

from .bands import plot_band as plot_band
from .bands import plot_bands as plot_bands
from .contrasts import plot_contrast as plot_contrast
from .contrasts import plot_overlay as plot_overlay
from .contrasts import plot_reach as plot_reach
from .contrasts import plot_task_weights as plot_task_weights
from .errors import plot_errors as plot_errors
from .fits import plot_fits as plot_fits
from .lines import line_with_band as line_with_band
from .lines import plot_lines as plot_lines
from .parameters import plot_parameter as plot_parameter
from .style import MARKERS as MARKERS
from .style import PALETTE as PALETTE
from .style import check_suffix as check_suffix
from .style import color as color
from .style import dress as dress
from .style import law_label as law_label
from .style import look as look
from .style import panel_title as panel_title
from .style import panels as panels
from .style import save as save
from .style import shared_legend as shared_legend
from .style import shots_axis as shots_axis
