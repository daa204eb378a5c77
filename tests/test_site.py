"""The site asks nothing of the network: formulas, fonts and the search's index are in it."""

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / ".ci"))
import build_docs

HEAD = (
    '<link rel="stylesheet" href="https://cdn.example.org/katex.min.css">'
    '<script src="https://cdn.example.org/katex.min.js" defer></script><link rel="stylesheet" href="styles.css">'
)


@pytest.fixture
def small_site(tmp_path, monkeypatch):
    monkeypatch.setattr(build_docs, "site", tmp_path)
    libraries = tmp_path / "site_libs"
    libraries.mkdir()
    formula = r'<span class="math display">\[M = \sum_k w_k A_k &lt; 1\]</span>'
    (tmp_path / "page.html").write_text(f"<head>{HEAD}</head><p>{formula}</p>")
    (libraries / "theme.css").write_text("@import url(https://fonts.example.org/a:wght@300;400);p{color:red}")
    (libraries / "smalldocs.js").write_text(f"async () => {{ {build_docs.FETCH} }}")
    (tmp_path / "search.json").write_text('[{"title": "one"}]')
    build_docs.stand_alone()
    return tmp_path


def test_pages_stand_alone(small_site):
    page = (small_site / "page.html").read_text()
    assert "cdn.example.org" not in page and "styles.css" in page
    assert page.count("<math") == 1 and 'display="block"' in page and "\\sum" not in page
    assert (small_site / "site_libs/theme.css").read_text() == "p{color:red}"
    assert "fetch(" not in (small_site / "site_libs/smalldocs.js").read_text()
    assert (small_site / "search.js").read_text() == 'window.searchIndex = [{"title": "one"}];\n'


def test_a_changed_smalldocs_is_noticed(small_site):
    (small_site / "site_libs/smalldocs.js").write_text("something else")
    with pytest.raises(SystemExit, match="smalldocs no longer has"):
        build_docs.stand_alone()


def test_no_page_of_a_built_site_asks_the_network(browser):
    pages = sorted((ROOT / "_docs").rglob("*.html"))
    if not pages:
        pytest.skip("the site is not built; `make docs` builds it")
    asked, faults, page = [], [], browser.new_page()
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: faults.append(str(e)))
    for path in pages:
        page.goto(path.as_uri())
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert faults == []


def test_newcomers_find_their_pages_first():
    pages = [
        "00_data.ipynb",
        "index.ipynb",
        *(f"{name}.ipynb" for name in build_docs.START[1:]),
        "stages.ipynb",
    ]
    arranged = build_docs.arrange([*pages, {"section": "blocks", "contents": ["blocks/runs.ipynb"]}])
    assert arranged[:2] == ["index.ipynb", "start.ipynb"]
    assert [entry["section"] for entry in arranged[6:]] == ["Phases", "Behind the phases", "Building blocks"]
    assert all((ROOT / "nbs" / f"{name}.ipynb").is_file() for name in build_docs.START)
