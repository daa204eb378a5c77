"""Build the site from index and notebooks: nbdev prepares a Quarto project in _proc, smalldocs renders it to _docs.

What smalldocs would fetch from the network is put into the site instead, so that it reads the same from disk, behind a
firewall and on a server: formulas become MathML, which browsers draw without a script; fonts are those of the reader's
system; and the search finds its index in a script, since a page on disk may not fetch a file.

The site is also for those who do not see it, or see it small or dark: every figure has a text (its cell's `fig-alt`, or
the prose before it), what scrolls sideways can be reached by keyboard, and the parts of each page are named.
"""

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

root = Path(__file__).parents[1]
site = root / "_docs"
# nbdev links names in the comments of signatures too, where a link cannot be
LINK = re.compile(r"\[(`[\w.]+`)\]\(https://[^)\s]*\)")
MATH = re.compile(r'<span class="math (inline|display)">\\[(\[](.*?)\\[)\]]</span>', re.DOTALL)
OUTSIDE = re.compile(r"<(?:link|script)[^>]*https://cdn\.[^>]*>(?:</script>)?")
FONTS = re.compile(r"""@import\s+(?:url\()?["']?https://[^"')]*["']?\)?;""")
FETCH = 'const r = await fetch(offset + "search.json");\n      index = await r.json();'
LOAD = """await new Promise((done) => {
        const script = document.createElement("script");
        script.src = offset + "search.js"; script.onload = script.onerror = done;
        document.head.append(script);
      });
      index = window.searchIndex || [];"""
HITS = "fuse.search(q, { limit }).map((h) => h.item)"
FIRST = "readersFirst(fuse.search(q, { limit: 5 * limit }).map((h) => h.item), q).slice(0, limit)"
START = ("index", "start", "your_own_parts", "commands", "deploy", "numbers", "results", "questions")
COPY = "  // ---- copy buttons\n"
ATLAS = re.compile(r'<img [^>]*src="pictures/atlas\.webp"[^>]*>')
SECTIONS = {"blocks": "Building blocks", "sample": "Drawn parts", "tools": "Tools"}
HEADING = re.compile(r"(?m)^(#{1,6})\s+(.+)$")
NO_PROSE = ("#", ">", "|", "```", "$$", "!", "<")  # what begins a paragraph that is none
RENAMED = {  # what smalldocs calls otherwise, or not at all, in every page
    ' aria-label="Toggle sidebar navigation"><i class="bi bi-layout-text-sidebar-reverse"></i>': (
        '><i class="bi bi-layout-text-sidebar-reverse" aria-hidden="true"></i> Pages'
    ),
    '<nav class="quarto-secondary-nav">': '<nav class="quarto-secondary-nav" aria-label="Where you are">',
    '<nav id="quarto-sidebar" ': '<nav id="quarto-sidebar" aria-label="Pages" ',
    '<nav id="TOC" ': '<nav id="TOC" aria-label="Contents" ',
    '<nav class="navbar ': '<nav aria-label="Site" class="navbar ',
    '<div id="quarto-margin-sidebar" ': '<div id="quarto-margin-sidebar" role="complementary" aria-label="On this page" ',
    ' role="navigation" aria-expanded=': ' role="button" tabindex="0" aria-expanded=',
    "<table": '<div class="wide"><table',
    "</table>": "</table></div>",
}
ADDED = """
  // ---- the search names pages for readers, where they have the words, before those about code
  const readers = __START__.map((name) => name + ".html");
  const readersFirst = (hits, q) => {
    const words = q.toLowerCase().split(/\\s+/);
    const meant = (e) => readers.includes(e.href.split("#")[0])
      && words.every((w) => (e.title + " " + e.section + " " + e.text).toLowerCase().includes(w));
    return [...hits.filter(meant), ...hits.filter((e) => !meant(e))];
  };
  // ---- what scrolls sideways can be reached, and scrolled, by keyboard
  const reach = () => $$("pre, .cell-output, .wide").forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0; else box.removeAttribute("tabindex");
  });
  window.addEventListener("load", reach);
  window.addEventListener("resize", reach);
  // ---- and what folds out answers to the keyboard
  $$("a[role=button]").forEach((fold) => fold.addEventListener("keydown", (ev) => {
    if (ev.key === "Enter" || ev.key === " ") { ev.preventDefault(); fold.click(); }
  }));
"""


def arrange(contents: list) -> list:
    "Order the sidebar: what a newcomer needs, the phases, how it is built."
    pages = {Path(entry).stem: entry for entry in contents if isinstance(entry, str)}
    start = [pages.pop(name) for name in START]
    phases = [pages.pop(name) for name in sorted(pages) if re.match(r"\d\d_", name)]
    sections = [entry for entry in contents if not isinstance(entry, str)]
    for section in sections:
        section["section"] = SECTIONS[section["section"]]
    built = [
        {"section": "Phases", "contents": phases},
        {"section": "Behind the phases", "contents": [*pages.values()]},
    ]
    return [*start, *built, *sections]


def configured(quarto: dict, version: str) -> dict:
    "The settings of nbdev's Quarto project, with a dark theme, links to the pages before and after, and a footer."
    quarto["format"]["html"]["theme"] = {"light": "cosmo", "dark": "darkly"}
    quarto["website"]["navbar"]["collapse"] = False  # the search stays in sight on a phone
    quarto["website"]["page-navigation"] = True
    code = "[Apache License 2.0](https://github.com/ojos-industriales/mvtec_xai/blob/main/LICENSE)"
    quarto["website"]["page-footer"] = {
        "left": f"Ojos industriales {version}. Code under the {code}.",
        "right": "MVTec AD, and models trained on it: CC BY-NC-SA 4.0.",
    }
    return quarto


def edit_yaml(path: Path, change: Callable[[dict], dict]) -> None:
    "Rewrite the YAML file at `path` as `change` returns it."
    changed = change(yaml.safe_load(path.read_text(encoding="utf-8")))
    path.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")


def with_sidebar(settings: dict) -> dict:
    "The settings of the sidebar, in the order of `arrange`."
    own = settings["website"]["sidebar"]
    own["contents"] = arrange(own["contents"])
    return settings


def text_of(cell: dict) -> str:
    "The source of a cell, which is a string or a list of lines."
    return "".join(cell["source"])


def prose_of(markdown: str) -> str:
    "The last paragraph of prose, without marks, cut after a sentence where it grows beyond 300 characters."
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n", markdown)]
    said = [p for p in paragraphs if p and not p.startswith(NO_PROSE)]
    text = re.sub(r"\[([^]]*)\]\([^)]*\)|[*`$\\]", lambda m: m[1] or "", " ".join(said[-1:]))
    short = ""
    for sentence in re.split(r"(?<=[.?!:])\s+", " ".join(text.split())):
        if short and len(short) + len(sentence) > 300:
            break
        short = f"{short} {sentence}".strip()
    return short


def shows_picture(cell: dict) -> bool:
    "Whether a picture is among the outputs of `cell`."
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", ()))


def describe_figures(cells: list[dict]) -> None:
    "Give each figure without a `fig-alt` one: the heading above it, and the prose that says what to look for."
    heading = prose = ""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            heading = ([m[2] for m in HEADING.finditer(text_of(cell))] or [heading])[-1]
            prose = prose_of(text_of(cell)) or prose
        elif shows_picture(cell) and "fig-alt:" not in text_of(cell):
            told = f"{', '.join(filter(None, ('Figure', heading)))}. {prose}".strip()
            cell["source"] = f"#| fig-alt: {json.dumps(told, ensure_ascii=False)}\n{text_of(cell)}"


def drop_empty_headings(cells: list[dict]) -> list[dict]:
    "The cells without those that are a heading alone, with nothing before the next heading of its level or above."
    kept: list[dict] = []
    for cell in reversed(cells):
        lone = cell["cell_type"] == "markdown" and re.fullmatch(r"(#{2,6})\s+[^\n]+\n*", text_of(cell))
        following = HEADING.match(text_of(kept[-1])) if kept and kept[-1]["cell_type"] == "markdown" else None
        if not (lone and (not kept or (following and len(following[1]) <= len(lone[1])))):
            kept.append(cell)
    return kept[::-1]


def complete(notebooks: Path) -> None:
    "Give the notebooks that nbdev has prepared what readers need and the sources need not say."
    for path in notebooks.rglob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"] = drop_empty_headings(notebook["cells"])
        describe_figures(notebook["cells"])
        path.write_text(json.dumps(notebook), encoding="utf-8")


def to_mathml(found: re.Match) -> str:
    "Turn a formula into MathML."
    from latex2mathml.converter import convert

    kind = {"inline": "inline", "display": "block"}[found[1]]
    made = convert(html.unescape(found[2]), display=kind)
    return f'<span class="wide">{made}</span>' if kind == "block" else made


def replaced(text: str, old: str, new: str) -> str:
    "Replace `old`, which must be there: smalldocs may change."
    if old not in text:
        raise SystemExit(f"build_docs: smalldocs no longer has {old!r}; look at what the site fetches now")
    return text.replace(old, new)


def stand_alone() -> None:
    "Let the pages in `site` ask nothing of the network, and name their parts."
    for page in site.rglob("*.html"):
        text = LINK.sub(r"\1", page.read_text(encoding="utf-8"))
        for old, new in RENAMED.items():
            text = text.replace(old, new)
        page.write_text(OUTSIDE.sub("", MATH.sub(to_mathml, text)), encoding="utf-8")
    for sheet in site.rglob("*.css"):
        sheet.write_text(FONTS.sub("", sheet.read_text(encoding="utf-8")), encoding="utf-8")
    index = (site / "search.json").read_text(encoding="utf-8")
    (site / "search.js").write_text(f"window.searchIndex = {index};\n", encoding="utf-8")
    script = site / "site_libs" / "smalldocs.js"
    told = script.read_text(encoding="utf-8")
    own = ADDED.replace("__START__", json.dumps(START))
    for old, new in ((FETCH, LOAD), (HITS, FIRST), (COPY, own + COPY)):
        told = replaced(told, old, new)
    script.write_text(told, encoding="utf-8")


def show_atlas(runs: Path) -> None:
    "Lead from the picture of the atlas to the page itself, where `runs` has one of drawn parts; others may not be shown."
    for manifest in (runs / name / "manifest.json" for name in ("sample", "test")):
        made = manifest.parent / "05_atlas" / "atlas.html"
        if made.is_file() and json.loads(manifest.read_text(encoding="utf-8"))["data"] == "sample":
            shutil.copy(made, site / "atlas.html")
            break
    else:
        return
    for page in site.glob("*.html"):
        led = ATLAS.sub(
            r'\g<0></p>\n<p><a href="atlas.html">Open this map</a>', text := page.read_text(encoding="utf-8")
        )
        if led != text:
            page.write_text(led, encoding="utf-8")


def main() -> None:
    from nbdev.config import get_config
    from nbdev.doclinks import nbdev_export
    from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
    from nbdev.serve import proc_nbs

    nbdev_export()
    refresh_quarto_yml()
    nbdev_sidebar(force=True)
    edit_yaml(root / "nbs" / "_quarto.yml", lambda quarto: configured(quarto, get_config().version))
    edit_yaml(root / "nbs" / "sidebar.yml", with_sidebar)
    proc_nbs(force=True)
    complete(root / "_proc")
    subprocess.run([Path(sys.executable).with_name("smalldocs"), "render", "_proc"], cwd=root, check=True)
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(root / "_proc" / "_docs", site)
    stand_alone()
    show_atlas(root / "runs")
    print("open _docs/index.html")


if __name__ == "__main__":  # proc_nbs starts workers that import this file
    main()
