"""A report as HTML: one file, nothing fetched, readable on paper and on a phone."""

import html
import json
from collections.abc import Sequence

from ..errors import InputError
from .parts import Chart, Report, Section, Table

STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --soft: #4a4a4a; --line: #d0d0d0; --back: #ffffff; --note: #f4f6f8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 68rem; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.4rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 0.6rem; }
h3 { font-size: 1rem; margin: 1rem 0 0.2rem; }
.question { color: var(--soft); max-width: 48rem; }
ul { padding-left: 1.2rem; } li { margin: 0.3rem 0; max-width: 52rem; overflow-wrap: anywhere; }
.verdict li { font-weight: 600; }
.caveats { background: #fff6e5; border-left: 4px solid #b36b00; padding: 0.4rem 1rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(28rem, 100%), 1fr)); gap: 1.2rem; }
figure { margin: 0; min-width: 0; border: 1px solid var(--line); border-radius: 6px; padding: 0.6rem; break-inside: avoid; }
figcaption strong { display: block; overflow-wrap: anywhere; } figcaption { font-size: 0.9rem; color: var(--soft); }
.chart { width: 100%; min-height: 230px; }
.scroll { overflow-x: auto; } .scroll:focus-visible { outline: 2px solid #0a4f7d; }
table { border-collapse: collapse; font-size: 0.9rem; margin: 0.4rem 0 1rem; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
th, td { text-align: left; padding: 0.25rem 0.9rem 0.25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
details { margin: 0.6rem 0; } summary { cursor: pointer; font-weight: 600; padding: 0.3rem 0; }
footer { margin-top: 2rem; background: var(--note); padding: 0.8rem 1rem; font-size: 0.85rem; overflow-wrap: anywhere; }
dl { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; } dd { margin: 0; }
@media (max-width: 34rem) { body { padding: 0.8rem; } dl { grid-template-columns: 1fr; } dt { font-weight: 600; } }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } .charts { grid-template-columns: 1fr 1fr; }
  .chart { min-height: 0; } .chart svg { max-width: 100%; height: auto; } h2, h3, summary { break-after: avoid; }
  tr { break-inside: avoid; } details:not([open]) { display: none; } a { color: inherit; } }
"""

DRAW = """
const specs = JSON.parse(document.getElementById("charts").textContent);
window.drawn = Promise.all(specs.map((spec, i) =>
  vegaEmbed("#chart" + i, spec, { renderer: "svg", actions: false }))).then((all) => all.length);
"""


def bundle() -> str:
    """The JavaScript of Vega, Vega-Lite and Vega-Embed as one ES module (0.9 MB), which puts `vegaEmbed` on the window.

    Raises:
      InputError: the package vl-convert-python is not installed.
    """
    try:
        import vl_convert
    except ImportError:
        raise InputError(
            "reports need the package vl-convert-python; run: pip install 'iclbayes[report]'"
        ) from None
    return vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue] (the snippet has a default)


def render(report: Report, javascript: str) -> str:
    """The page.

    Args:
      report: what stands in it; every text is escaped.
      javascript: of `bundle`.
    """
    parts = [
        f"<h1>{_text(report.title)}</h1>",
        f'<p class="question">{_text(report.question)}</p>',
        "<h2>Answer</h2>",
        _list(report.verdict, "verdict"),
    ]
    if report.caveats:
        parts += [
            '<section class="caveats" aria-label="Caveats">',
            "<h2>Read with care</h2>",
            _list(report.caveats),
            "</section>",
        ]
    drawn = 0
    for section in report.sections:
        parts += _section(section, drawn)
        drawn += len(section.charts)
    facts = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in report.about.items())
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="iclbayes">
<title>{_text(report.title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
<footer><h2>Where this comes from</h2><dl>{facts}</dl></footer>
<script type="application/json" id="charts">{_json([chart.spec for chart in report.charts])}</script>
<script type="module">{_script(javascript)}</script>
<script type="module">{DRAW}</script>
</body>
</html>
"""


def _text(value: object) -> str:
    return html.escape(str(value))


def _json(value: object) -> str:
    """JSON that may stand in a script element: no "<" ends it early."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )


def _script(code: str) -> str:
    """JavaScript that may stand in a script element: what ends one only occurs in strings, where a backslash is harmless."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _section(section: Section, first: int) -> list[str]:
    """A section, whose charts are numbered from `first`."""
    parts = [f"<h2>{_text(section.heading)}</h2>"]
    if section.lines:
        parts += [_list(section.lines)] if section.plain else _outline(section.lines)
    if section.hint:
        parts.append(f'<p class="hint">{_text(section.hint)}</p>')
    if section.charts:
        figures = [_figure(first + i, chart) for i, chart in enumerate(section.charts)]
        parts += ['<div class="charts">', *figures, "</div>"]
    return [*parts, *(_details(table) for table in section.tables)]


def _list(lines: Sequence[str], kind: str = "") -> str:
    chosen = f' class="{kind}"' if kind else ""
    return f"<ul{chosen}>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _outline(lines: Sequence[str]) -> list[str]:
    """Lines of which those that begin with a space belong to the one before that does not, as headings with lists."""
    parts: list[str] = []
    under: list[str] = []
    for line in [*lines, ""]:
        if line.startswith(" "):
            under.append(line.strip())
            continue
        if under:
            parts.append(_list(under))
            under = []
        if line:
            parts.append(f"<h3>{_text(line)}</h3>")
    return parts


def _figure(number: int, chart: Chart) -> str:
    caption = f"<figcaption><strong>{_text(chart.title)}</strong>{_text(chart.says)}</figcaption>"
    return f'<figure>{caption}<div class="chart" id="chart{number}"></div></figure>'


def _details(table: Table) -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    note = f"<p>{_text(table.note)}</p>" if table.note else ""
    return (
        f"<details open><summary>{_text(table.caption)}</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(table.caption)}">'
        f"<table><caption>{_text(table.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"{note}</details>"
    )
