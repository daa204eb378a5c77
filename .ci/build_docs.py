"""Build the site from index and notebooks: nbdev prepares a Quarto project in _proc, smalldocs renders it to _docs.

What smalldocs would fetch from the network is put into the site instead, so that it reads the same from disk, behind a
firewall and on a server: formulas become MathML, which browsers draw without a script; fonts are those of the reader's
system; and the search finds its index in a script, since a page on disk may not fetch a file.
"""

import html
import re
import shutil
import subprocess
import sys
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


START = ("index", "start", "your_own_parts", "numbers", "results", "questions")
SECTIONS = {"blocks": "Building blocks", "sample": "Drawn parts", "tools": "Tools"}


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


def to_mathml(found: re.Match) -> str:
    "Turn a formula into MathML."
    from latex2mathml.converter import convert

    kind = {"inline": "inline", "display": "block"}[found[1]]
    return convert(html.unescape(found[2]), display=kind)


def replaced(text: str, old: str, new: str) -> str:
    "Replace `old`, which must be there: smalldocs may change."
    if old not in text:
        raise SystemExit(f"build_docs: smalldocs no longer has {old!r}; look at what the site fetches now")
    return text.replace(old, new)


def stand_alone() -> None:
    "Let the pages in `site` ask nothing of the network."
    for page in site.rglob("*.html"):
        text = LINK.sub(r"\1", page.read_text(encoding="utf-8"))
        page.write_text(OUTSIDE.sub("", MATH.sub(to_mathml, text)), encoding="utf-8")
    for sheet in site.rglob("*.css"):
        sheet.write_text(FONTS.sub("", sheet.read_text(encoding="utf-8")), encoding="utf-8")
    index = (site / "search.json").read_text(encoding="utf-8")
    (site / "search.js").write_text(f"window.searchIndex = {index};\n", encoding="utf-8")
    script = site / "site_libs" / "smalldocs.js"
    script.write_text(replaced(script.read_text(encoding="utf-8"), FETCH, LOAD), encoding="utf-8")


def main() -> None:
    from nbdev.doclinks import nbdev_export
    from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
    from nbdev.serve import proc_nbs

    nbdev_export()
    refresh_quarto_yml()
    nbdev_sidebar(force=True)
    path = root / "nbs" / "sidebar.yml"
    sidebar = yaml.safe_load(path.read_text(encoding="utf-8"))
    own = sidebar["website"]["sidebar"]
    own["contents"] = arrange(own["contents"])
    path.write_text(yaml.safe_dump(sidebar, sort_keys=False), encoding="utf-8")
    proc_nbs()
    subprocess.run([Path(sys.executable).with_name("smalldocs"), "render", "_proc"], cwd=root, check=True)
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(root / "_proc" / "_docs", site)
    stand_alone()
    print("open _docs/index.html")


if __name__ == "__main__":  # proc_nbs starts workers that import this file
    main()
