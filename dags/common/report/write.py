"""Writing the report: everything is made first, and each file appears whole."""

import json

from common import storage
from common.report.findings import Findings
from common.report.mail import as_mail
from common.report.page import as_page
from common.report.paths import ReportPaths, report_paths
from common.report.plots import all_plots
from common.report.text import as_text


def write_report(findings: Findings) -> ReportPaths:
    """Write the report of a run as text, as one self-contained HTML page, and as what the mail will say."""
    paths, plots = report_paths(findings.run_id), all_plots(findings)
    contents = {
        paths.text: as_text(findings, paths.html),
        paths.mail: json.dumps(as_mail(findings, plots).to_dict()),
        paths.html: as_page(findings, plots),
    }
    for path, content in contents.items():
        storage.write(path, content.encode())
    return paths
