"""A report as one HTML file: question, verdict in sentences, charts to zoom and point at, tables, caveats, provenance."""

from .charts import band_chart as band_chart
from .comparisons import read_comparison as read_comparison
from .comparisons import report_of_comparison as report_of_comparison
from .contents import report_of as report_of
from .page import bundle as bundle
from .page import render as render
from .parts import Chart as Chart
from .parts import Report as Report
from .parts import Section as Section
from .parts import Table as Table
from .parts import provenance as provenance
