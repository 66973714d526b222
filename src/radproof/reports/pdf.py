# SPDX-License-Identifier: Apache-2.0
"""The same report as a tagged PDF, drawn by WeasyPrint, which may read nothing but what stands in the page itself."""

from io import BytesIO
from pathlib import Path

from radproof.assess.finished import read_result
from radproof.core.files import write_bytes
from radproof.core.records import digest
from radproof.errors import BadInput
from radproof.reports.html import render

NAME = "report.pdf"


def require_pdf() -> None:
    """Raise BadInput when the PDF extra (or Pango, which it needs) is missing: better before hours of work."""
    try:
        import weasyprint  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise BadInput('a PDF needs WeasyPrint; install it with: pip install "radproof[pdf]"') from None
    except OSError:
        raise BadInput(
            "a PDF needs the Pango library, which is not installed here; "
            "on Debian: apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
        ) from None


def write_pdf(run: Path) -> Path:
    """Draw run/result.json as run/report.pdf, whole or not at all; equal results give equal bytes.

    Raises BadInput when the folder holds no readable result or the PDF extra (or Pango, which it needs) is missing.
    """
    require_pdf()
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    result = read_result(run)
    fetcher = URLFetcher(allowed_protocols=["data"], allow_redirects=False)
    page = HTML(string=render(result, run), url_fetcher=fetcher)
    stream = BytesIO()
    page.write_pdf(stream, pdf_variant="pdf/ua-1", pdf_identifier=digest(result).encode())
    path = run / NAME
    write_bytes(path, stream.getvalue())
    return path
