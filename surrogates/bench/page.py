"""The frame of the report: a page with its style inside, dark on white, for screens of any width and for paper."""

from string import Template

STYLE = """
:root { --ink: #1c1c1e; --soft: #5d6068; --line: #dcdfe4; --mark: #f1f6fb; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; }
main { max-width: 1020px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 21px; margin: 52px 0 14px; padding-top: 14px; border-top: 2px solid var(--ink); }
h3 { font-size: 16px; margin: 0 0 8px; }
p, li, dd { max-width: 78ch; }
figcaption, .notes li { max-width: 100ch; }
.subtitle { color: var(--soft); margin: 0 0 26px; }
.summary { border-left: 4px solid var(--accent); padding: 2px 0 2px 20px; }
.summary p { font-size: 18px; line-height: 1.5; margin: 0 0 12px; }
.summary p:last-child { margin-bottom: 0; }
dl { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 8px 22px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.table { overflow-x: auto; margin: 18px 0 26px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; line-height: 1.35; font-variant-numeric: tabular-nums; }
.narrow table { width: auto; min-width: 420px; }
caption { text-align: left; font-weight: 600; font-size: 15px; padding: 0 0 8px; }
th, td { padding: 6px 8px; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
td { white-space: nowrap; }
thead th { vertical-align: bottom; font-weight: 500; color: var(--soft); border-bottom: 1px solid var(--ink); }
th:first-child, td:first-child { text-align: left; padding-left: 6px; }
tbody th { font-weight: 400; }
tr.marked > * { background: var(--mark); font-weight: 600; }
.notes { font-size: 14px; color: var(--soft); padding-left: 20px; margin: 0; }
.notes li { margin-bottom: 5px; }
figure { margin: 0 0 44px; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; }
figcaption { font-size: 14.5px; line-height: 1.5; color: var(--ink); margin-top: 8px; }
pre { background: #f6f7f9; padding: 12px 14px; font-size: 13px; line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 640px) { main { padding: 22px 16px 48px; } dl { grid-template-columns: 1fr; gap: 2px; } dd { margin-bottom: 8px; } }
@media print {
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; } h2 { margin-top: 28px; break-after: avoid; }
  .table { overflow: visible; break-inside: avoid; } table { font-size: 7.6pt; } td { white-space: normal; } th, td { padding: 3px 4px; }
}
"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="subtitle">$subtitle</p>
<section class="summary">$summary</section>
<h2>What was done</h2>
$done
<h2>Results</h2>
$tables
<ul class="notes">$notes</ul>
<h2>Figures</h2>
$figures
<h2>What the ensemble stands for</h2>
$ensemble
<h2>Environment</h2>
$environment
</main>
</body>
</html>
""")
