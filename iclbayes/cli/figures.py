"""Figures as commands write them: title, label and size as asked, pages where a PDF has them, a word on what is left out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Data, DataAhead, FigureLook, FigureOptions

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..curves import Curves


def overlaid(look: FigureOptions, data: Data | DataAhead) -> str | None:
    """The column of --overlay by the name that `Curves` has for it: the column of --source is its source."""
    other = look.overlay not in data.group_by and look.overlay == data.source
    return "source" if look.overlay is not None and other else look.overlay


def count_panels(curves: "Curves", overlay: str | None) -> int:
    """Panels in which these curves are drawn.

    Raises:
      InputError: an overlay that is no column of the curves, or of more curves than can be told apart.
    """
    from ..plots import panels_of

    return len(panels_of(curves, overlay))


def panels_on_a_page(most: int, look: FigureLook) -> int:
    """Panels on a page, `most` at most, for a figure of the size that is asked for."""
    from ..plots.style import fitting_panels

    return fitting_panels(most, look.inches)


def write_figure(
    draw: Callable[[int | None], "Figure"],
    path: Path,
    look: FigureLook,
    panels: int = 1,
    most: int = 1,
    what: str = "panels",
) -> str:
    """Draws a figure, writes it, and says in a line where it is and what of it.

    A PDF has as many pages as all panels need; PNG and SVG hold the first page, which says what is left out.

    Args:
      draw: a page (None: the first, which says that there are more) → its figure.
      path: .png, .pdf or .svg.
      look: title, label and size.
      panels, most: panels in all, and on a page at most (`panels_on_a_page`).
      what: what the panels are called.
    """
    from .. import plots
    from ..plots.layout import DPI, with_room

    pages = plots.n_pages(panels, most)
    several = pages > 1 and path.suffix.lower() == ".pdf"
    figures = [
        plots.finish(draw(page), look.title, look.ylabel) for page in (range(pages) if several else [None])
    ]
    options, notes = {}, []
    if look.size is not None:
        options["dpi"] = DPI
        roomy = [with_room(figure) for figure in figures]
        if not all(roomy):
            width, height = figures[0].get_size_inches()
            notes.append(
                f"{width:.1f} by {height:.1f} inches, as --size {look.size} leaves no room for its panels"
            )
    if several:
        plots.save_pages(figures, path, **options)
        notes.append(f"{pages} pages")
    else:
        plots.save(figures[0], path, **options)
        if pages > 1:
            notes.append(
                f"the first {most} of {panels} {what}; a name that ends with .pdf gets all, on {pages} pages"
            )
    return f"figure: {path}" + (f" ({'; '.join(notes)})" if notes else "")


def write_reach(path: Path, curves: "Curves", reached: "pd.DataFrame", look: FigureLook) -> str:
    """`write_figure` of the shots to a level, a row for each curve."""
    from ..plots import figure_of, plot_reach
    from ..plots.reach import MOST, fitting_rows

    by = [str(name) for name in curves.keys]
    level, largest = float(reached["level"].iloc[0]), curves.max_shots()

    def draw(page: int | None) -> "Figure":
        return figure_of(plot_reach(reached, by, level, largest, page=page, size=look.inches))

    return write_figure(draw, path, look, len(reached), fitting_rows(MOST, look.inches), "rows")
