"""The PDF: same content, tagged, nothing fetched, nothing half-written."""

import builtins
import os
import re
import zlib

import pytest

from radproof.core.records import canonical_json
from radproof.errors import BadInput
from radproof.reports.pdf import write_pdf


@pytest.fixture(scope="module")
def weasyprint():
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"WeasyPrint cannot start under CI: {error}")
        pytest.skip(f"needs the pdf extra and Pango ({error})")
    return weasyprint


@pytest.fixture(scope="module")
def small(result, tmp_path_factory):
    """A run whose report takes a second: clean images and the worst per image."""
    kept = [c for c in result.cells if c.attack in ("none", "worst") and c.goal != "missed-finding"]
    small = result.model_copy(
        update={"cells": tuple(kept), "gallery": (), "detection": (), "paired": (), "training": None}
    )
    run = tmp_path_factory.mktemp("small")
    (run / "result.json").write_text(canonical_json(small), encoding="utf-8")
    return run


@pytest.fixture(scope="module")
def written(weasyprint, small):
    return write_pdf(small).read_bytes()


def unpacked(pdf):
    """The file with its compressed streams unpacked."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    return pdf + b"".join(zlib.decompressobj().decompress(s) for s in streams if s[:1] == b"\x78")


def test_a_pdf_is_written_with_equal_bytes_for_equal_results(written, small):
    assert written.startswith(b"%PDF-")
    assert written.rstrip().endswith(b"%%EOF")
    assert write_pdf(small).read_bytes() == written
    assert sorted(p.name for p in small.iterdir()) == ["report.pdf", "result.json"]


def test_it_is_tagged_and_titled_for_readers_that_speak(written):
    text = unpacked(written)
    assert re.search(rb"/MarkInfo\s*<<\s*/Marked true", text)
    assert b"/Lang (en)" in text
    assert b"pdfuaid" in text


def test_nothing_but_the_page_itself_may_be_read(weasyprint, small, monkeypatch, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    asked: list[str] = []

    def tempting(result, run):
        return f'<html lang="en"><title>t</title><img alt="a" src="{secret.as_uri()}"><p>text</p></html>'

    from weasyprint.urls import URLFetcher

    fetch = URLFetcher.fetch

    def spy(self, url, headers=None):
        asked.append(url)
        return fetch(self, url, headers)

    monkeypatch.setattr("radproof.reports.pdf.render", tempting)
    monkeypatch.setattr(URLFetcher, "fetch", spy)
    opened: list[str] = []
    monkeypatch.setattr("urllib.request.FileHandler.file_open", lambda self, request: opened.append(request.full_url))
    write_pdf(small)
    assert asked == [secret.as_uri()]
    assert opened == []


@pytest.mark.parametrize(
    ("error", "advice"),
    [(ImportError("no module"), 'pip install "radproof[pdf]"'), (OSError("libpango"), "libpango")],
)
def test_a_missing_extra_is_told_with_what_to_do(small, monkeypatch, error, advice):
    genuine = builtins.__import__

    def refuse(name, *rest, **more):
        if name.startswith("weasyprint"):
            raise error
        return genuine(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    (small / "report.pdf").unlink(missing_ok=True)
    with pytest.raises(BadInput) as caught:
        write_pdf(small)
    assert advice in str(caught.value)
    assert not (small / "report.pdf").exists()
