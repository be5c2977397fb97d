"""A report as one HTML file: question, verdict in sentences, charts to zoom and point at, tables, caveats, provenance."""

from .charts import band_chart as band_chart
from .contents import Chart as Chart
from .contents import Report as Report
from .contents import Table as Table
from .contents import report_of as report_of
from .page import bundle as bundle
from .page import render as render
