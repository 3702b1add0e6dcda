"""The report: one HTML page that shows a run, readable without a network.

inputs.py reads the files of a run, metric_tables.py and charts.py turn them into what the page shows,
answers.py into the data of the answer browser; page.py puts all into page.html with style.css and browser.js.
"""

from knowtuning.report.inputs import read
from knowtuning.report.page import build

__all__ = ["build", "read"]
