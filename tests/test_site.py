"""The site: it asks nothing of the network, tells what the program can do, and can be read by everyone."""

import ast
import re
import shlex
import sys
from pathlib import Path

import nbformat
import pytest
import typer
from conftest import ROOT
from PIL import Image

from mvtec_xai.tools.cli import app

sys.path.insert(0, str(ROOT / ".ci"))
import build_docs

HEAD = (
    '<link rel="stylesheet" href="https://cdn.example.org/katex.min.css">'
    '<script src="https://cdn.example.org/katex.min.js" defer></script><link rel="stylesheet" href="styles.css">'
)
NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


@pytest.fixture
def small_site(tmp_path, monkeypatch):
    monkeypatch.setattr(build_docs, "site", tmp_path)
    libraries = tmp_path / "site_libs"
    libraries.mkdir()
    formula = r'<span class="math display">\[M = \sum_k w_k A_k &lt; 1\]</span>'
    (tmp_path / "page.html").write_text(f"<head>{HEAD}</head><p>{formula}</p><table><tr></tr></table>")
    (libraries / "theme.css").write_text("@import url(https://fonts.example.org/a:wght@300;400);p{color:red}")
    (libraries / "smalldocs.js").write_text(f"{build_docs.FETCH}\n{build_docs.HITS}\n{build_docs.COPY}")
    (tmp_path / "search.json").write_text('[{"title": "one"}]')
    build_docs.stand_alone()
    return tmp_path


@pytest.fixture(scope="session")
def built():
    "The pages of the built site, but for the atlas, which has tests of its own."
    pages = sorted(p for p in (ROOT / "_docs").rglob("*.html") if p.name != "atlas.html")
    if not pages:
        pytest.skip("the site is not built; `make docs` builds it")
    return pages


def test_pages_stand_alone(small_site):
    page = (small_site / "page.html").read_text()
    assert "cdn.example.org" not in page and "styles.css" in page
    assert page.count("<math") == 1 and 'display="block"' in page and "\\sum" not in page
    assert '<div class="wide"><table><tr></tr></table></div>' in page
    assert (small_site / "site_libs/theme.css").read_text() == "p{color:red}"
    script = (small_site / "site_libs/smalldocs.js").read_text()
    assert "fetch(" not in script and "tabIndex" in script
    assert (small_site / "search.js").read_text() == 'window.searchIndex = [{"title": "one"}];\n'


def test_the_atlas_of_drawn_parts_is_on_the_site_and_no_other(small_site, tmp_path):
    (small_site / "page.html").write_text('<p><img alt="A map" src="pictures/atlas.webp" class="x"></p>')
    made = tmp_path / "runs" / "sample" / "05_atlas" / "atlas.html"
    made.parent.mkdir(parents=True)
    made.write_text("a map")
    for data, shown in (("mvtec_ad", False), ("sample", True)):
        (made.parents[1] / "manifest.json").write_text(f'{{"data": "{data}"}}')
        build_docs.show_atlas(tmp_path / "runs")
        assert (small_site / "atlas.html").is_file() == shown
        assert ('<a href="atlas.html">' in (small_site / "page.html").read_text()) == shown


def test_a_changed_smalldocs_is_noticed(small_site):
    (small_site / "site_libs/smalldocs.js").write_text("something else")
    with pytest.raises(SystemExit, match="smalldocs no longer has"):
        build_docs.stand_alone()


def test_newcomers_find_their_pages_first():
    pages = [
        "00_data.ipynb",
        "index.ipynb",
        *(f"{name}.ipynb" for name in build_docs.START[1:]),
        "stages.ipynb",
    ]
    arranged = build_docs.arrange([*pages, {"section": "blocks", "contents": ["blocks/runs.ipynb"]}])
    first = len(build_docs.START)
    assert arranged[:first] == [f"{name}.ipynb" for name in build_docs.START]
    sections = [entry["section"] for entry in arranged[first:]]
    assert sections == ["Phases", "Behind the phases", "Building blocks"]
    assert all((ROOT / "nbs" / f"{name}.ipynb").is_file() for name in build_docs.START)


def test_every_folder_of_notebooks_has_a_readable_name():
    folders = {p.parent.name for p in NOTEBOOKS} - {"nbs"}
    assert folders == set(build_docs.SECTIONS)


def test_settings_of_the_site():
    made = build_docs.configured({"format": {"html": {}}, "website": {"navbar": {}}}, "1.2.3")
    assert set(made["format"]["html"]["theme"]) == {"light", "dark"}
    assert made["website"]["page-navigation"] and "1.2.3" in made["website"]["page-footer"]["left"]


def prose(text: str) -> dict:
    return {"cell_type": "markdown", "source": text}


def drawn(source: str) -> dict:
    return {"cell_type": "code", "source": source, "outputs": [{"data": {"image/png": ""}}]}


def test_a_figure_says_what_to_look_for():
    text = "## Curves\n\nThe *area* is one number; [its shape](x.ipynb) tells more.\n\n| a | b |\n|---|---|"
    cells = [prose(text), drawn("plot()"), drawn('#| fig-alt: "A curve."\nplot()')]
    build_docs.describe_figures(cells)
    told = '#| fig-alt: "Figure, Curves. The area is one number; its shape tells more."\nplot()'
    assert cells[1]["source"] == told
    assert cells[2]["source"] == '#| fig-alt: "A curve."\nplot()'


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def test_every_figure_has_a_text(notebook):
    cells = nbformat.read(notebook, 4).cells
    build_docs.describe_figures(cells)
    for cell in cells:
        if build_docs.shows_picture(cell):
            (told,) = re.findall(r'(?m)^#\| fig-alt: "?(.*?)"?$', cell.source)
            assert 40 < len(told) < 500 and "\\n" not in told, cell.source
    for picture in re.findall(
        r"!\[(.*?)\]\(", "\n".join(c.source for c in cells if c.cell_type == "markdown")
    ):
        assert len(picture) > 40


def test_headings_with_nothing_below_are_left_out():
    kept = ["# Title", "## One", "Text.", "## Two\n\nText.", "### Deep", "text"]
    cells = [
        *map(prose, kept[:3]),
        prose("## Empty"),
        prose("### Empty too\n"),
        *map(prose, kept[3:]),
        prose("## Last"),
    ]
    assert [cell["source"] for cell in build_docs.drop_empty_headings(cells)] == kept


def test_docstrings_keep_their_stars():
    "The site renders them as Markdown: names with a star belong in backticks."
    for module in sorted((ROOT / "mvtec_xai").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                plain = re.sub(r"`[^`]*`", "", ast.get_docstring(node) or "")
                assert "*" not in plain, f"{module.name}: {plain}"


def commands() -> dict:
    "All commands of the program by their name."
    found = dict(typer.main.get_command(app).commands)
    while groups := [name for name, command in found.items() if hasattr(command, "commands")]:
        for name in groups:
            group = found.pop(name)
            found |= {f"{name} {part}": command for part, command in group.commands.items()}
    return found


def examples() -> dict[str, list[str]]:
    "What the page of commands shows."
    cells = nbformat.read(ROOT / "nbs" / "commands.ipynb", 4).cells
    sources = [c.source for c in cells if "EXAMPLES = {" in c.source or "EXAMPLES |= {" in c.source]
    parts = [ast.literal_eval(ast.parse(source).body[0].value) for source in sources]
    return {name: lines for part in parts for name, lines in part.items()}


@pytest.fixture
def all_there(monkeypatch):
    "What commands name is taken to exist."
    for there in ("is_dir", "exists"):
        monkeypatch.setattr(Path, there, lambda self: True)


def parse(line: str) -> str:
    "Give the name of the command that a line calls; an error of the parser if it cannot be given so."
    program, *given = shlex.split(line, comments=True)
    name = next(name for name in commands() if given[: len(name.split())] == name.split())
    commands()[name].make_context(name, given[len(name.split()) :])
    return name


def test_every_command_has_examples_that_can_be_given(all_there):
    shown = examples()
    assert set(commands()) == set(shown)
    for name, lines in shown.items():
        assert [parse(line) for line in lines] == [name] * len(lines)


def test_commands_in_texts_can_be_given(all_there):
    pages = [ROOT / "README.md", ROOT / "README.es.md", ROOT / "CONTRIBUTING.md"]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    texts += [
        cell.source
        for page in sorted((ROOT / "nbs").rglob("*.ipynb"))
        for cell in nbformat.read(page, 4).cells
        if cell.cell_type == "markdown"
    ]
    blocks = [block for text in texts for block in re.findall(r"(?s)```sh\n(.*?)```", text)]
    lines = re.findall(r"(?m)^(?:\S*/)?mvtec-xai .*$", "\n".join(blocks))
    assert len([parse(line) for line in lines]) > 30


def test_every_option_is_explained():
    silent = [
        f"{name} {o.name}" for name, c in commands().items() for o in c.params if not getattr(o, "help", "")
    ]
    assert silent == []


def test_the_page_of_commands_is_that_of_the_program():
    page = str(nbformat.read(ROOT / "nbs" / "commands.ipynb", 4).cells[-1].outputs[0].data["text/markdown"])
    for name, command in commands().items():
        section = page.split(f"## mvtec-xai {name}\n")[1].split("\n## ")[0]
        assert command.help in section, "execute commands.ipynb"
        for option in command.params:
            assert option.name == "help" or option.help.replace("*", "\\*") in section, (
                "execute commands.ipynb"
            )


def test_pictures_of_the_product_are_small():
    pictures = {p.stem: p for p in (ROOT / "nbs" / "pictures").iterdir()}
    assert set(pictures) == {"app", "gallery", "atlas"}
    for picture in pictures.values():
        assert picture.stat().st_size <= 150_000 and Image.open(picture).width >= 1200


def test_no_page_of_a_built_site_asks_the_network(browser, built):
    asked, faults, page = [], [], browser.new_page()
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: faults.append(str(e)))
    for path in built:
        page.goto(path.as_uri())
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert faults == []


def test_links_and_pictures_of_a_built_site_are_there(built):
    pages = {path: path.read_text(encoding="utf-8") for path in built}
    names = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    for path, text in pages.items():
        for link in re.findall(r'(?:href|src)="([^"]*)"', re.sub(r'src="data:[^"]*"', "", text)):
            address, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link) or not link:
                continue
            aim = (path.parent / address).resolve() if address else path
            assert aim.exists(), f"{path.name}: {link}"
            assert not anchor or aim not in names or anchor in names[aim], f"{path.name}: {link}"


def test_every_page_of_a_built_site_leads_on(built):
    for path in built:
        text = path.read_text(encoding="utf-8")
        assert 'class="pagination-link"' in text and "Apache License 2.0" in text, path.name


LOOKS = [("light", 1400), ("dark", 1400), ("light", 390), ("dark", 390)]


@pytest.mark.parametrize("turn", range(len(LOOKS)), ids=[f"{scheme} {width}" for scheme, width in LOOKS])
def test_a_built_site_can_be_read_by_everyone(browser, built, grave, turn):
    "Each page in one of four looks, since axe takes seconds a page."
    scheme, width = LOOKS[turn]
    page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
    for path in built[turn :: len(LOOKS)]:
        page.goto(path.as_uri())
        assert grave(page) == [], path.name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (
            f"{path.name} is wider than the window"
        )
