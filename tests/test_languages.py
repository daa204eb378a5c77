"""Every text of the code has its translation, and none is left over; one more language needs one more file.

`python tests/test_languages.py` puts what the code says into every catalogue, to be translated there, and takes out
what it says no more; `python tests/test_languages.py fr` begins a catalogue of one more language.
"""

import ast
import re
import shutil
import string
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from mvtec_xai import atlas, describing
from mvtec_xai.blocks import languages
from mvtec_xai.blocks.translation import NUMBER, PIECE, translate_figure
from mvtec_xai.tools import gallery_words, words
from mvtec_xai.tools.gallery import gallery

ROOT = Path(__file__).parents[1]
PAGES = {"atlas": atlas.ATLAS, "gallery": gallery_words.ENGLISH, "page": words.ENGLISH}
PAGES["sentence"] = describing.ENGLISH
ELSEWHERE = (
    "figure",
    "plotly",
)  # contexts of labels in notebooks, and of plotly's own: the Spanish catalogue lists them
TOOLS = ("app", "reasons", "pieces", "search", "search_box", "expected", "workbench")
ASKED = {  # the code that says the texts of a page
    "atlas": ["atlas.html", "atlas.py"],
    "gallery": [f"tools/{name}" for name in ("gallery.html", "gallery.js", "marks.js", "parts.js")],
    "page": [f"tools/{name}.py" for name in TOOLS],
    "sentence": ["describing.py"],
}
COMPOSED = re.compile(  # keys that the code puts together, or takes from names of buttons and stages
    r"view_\d|(key_)?(right|wrong_\w+|good|defective|\w+_type)|\w+_means|\w+_added|(detector|stranger|type)_\w+"
    r"|read|detect|explain|verify|type"
)
HEAD = r"""# What figures and pages say in another language; nbs/blocks/languages.ipynb says how it is read.
# The context of a text is its page and its key; those that begin with key_ are letters of the keyboard.
msgid ""
msgstr ""
"Language: {}\n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=utf-8\n"
"Content-Transfer-Encoding: 8bit\n"

"""


def place_of(language: str) -> Path:
    return languages.LOCALE / language / languages.CATALOGUE


def read(language: str) -> Catalog:
    with open(place_of(language), "rb") as file:
        return read_po(file, abort_invalid=True)


def template() -> Catalog:
    "All that the code says, without a translation."
    found = Catalog()
    for entry in read("es"):
        if entry.context in ELSEWHERE:
            found.add(entry.id, context=entry.context)
    for page, english in PAGES.items():
        for key, text in english.items():
            found.add(text, context=f"{page}.{key}")
    return found


def renew(language: str) -> None:
    "Bring a catalogue up to what the code says; what is like an older text gets its translation, marked as fuzzy."
    file = place_of(language)
    catalogue = read(language) if file.is_file() else Catalog()
    catalogue.update(template(), update_creation_date=False)
    for entry in catalogue:
        entry.flags.discard("python-format")  # a % is one per cent
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "wb") as out:
        out.write(HEAD.format(language).encode())
        write_po(out, catalogue, width=110, omit_header=True, ignore_obsolete=True)


OTHERS = languages.languages()[1:]


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated_and_none_is_left_over(language):
    said = {(e.context, e.id) for e in template() if e.id}
    translated = {(e.context, e.id) for e in read(language) if e.id and e.string and not e.fuzzy}
    assert said - translated == set(), "run this file, then translate what is empty or fuzzy"
    assert translated - said == set(), "run this file, which takes out what nobody says"


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_is_written_as_this_file_writes_it(language, tmp_path, monkeypatch):
    before = place_of(language).read_text(encoding="utf-8")
    shutil.copytree(languages.LOCALE, tmp_path / "locale")
    monkeypatch.setattr(languages, "LOCALE", tmp_path / "locale")
    renew(language)
    assert place_of(language).read_text(encoding="utf-8") == before, (
        "an entry stands twice, or not in its place"
    )


def blanks(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_values_of_its_text(language):
    assert [e.id for e in read(language) if e.string and blanks(e.id) != blanks(e.string)] == []


@pytest.mark.parametrize("language", languages.languages())
def test_keys_of_one_image_differ(language):
    said = languages.texts("gallery", gallery_words.ENGLISH, language)
    for offered in (("right", "wrong_good", "other_type"), ("good", "defective", "which_type")):
        assert len({said[f"key_{name}"] for name in (*offered, "undo")}) == 4


def drawn_texts() -> set[str]:
    "The texts in the code of all notebooks, `{}` for a value or a number in them, and their pieces."
    said = {"True", "False"}  # values that become labels
    for path in (ROOT / "nbs").rglob("*.ipynb"):
        cells = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
        for node in ast.walk(ast.parse(re.sub(r"^[%!].*", "", "\n".join(cells), flags=re.M))):
            if isinstance(node, ast.JoinedStr):
                said.add("".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values))
            elif isinstance(node, ast.keyword) and node.arg:
                said.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(node.value)
    said = {NUMBER.sub("{}", text) for text in said}
    return said | {piece.replace("{}", "").strip() for text in said for piece in PIECE.findall(text)}


def test_no_label_of_a_figure_is_left_over():
    said = drawn_texts()
    composed = [
        re.escape(t).replace(r"\{\}", ".+") for t in said if re.search("[a-z]{3}.*{}|{}.*[a-z]{3}", t)
    ]
    composed = re.compile("|".join(composed))

    def left_over(labels):
        return [label for label in labels if label not in said and not composed.fullmatch(label)]

    assert left_over(languages.words_of("figure", "es")) == []
    assert left_over(["a zebra that nobody draws"]), "the test finds none that is left over"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_asks_for_every_text_of_its_own_and_for_no_other(page):
    code = "".join((ROOT / "mvtec_xai" / file).read_text(encoding="utf-8") for file in ASKED[page])
    code = re.sub(r'^    "\w+": ".*",$', "", code, flags=re.M)  # the texts themselves
    quoted = set(re.findall(r"""['"](\w+)['"]""", code))
    assert [key for key in PAGES[page] if key not in quoted and not COMPOSED.fullmatch(key)] == []
    asked = re.findall(r"""\b(?:say|tr|words)\(['"](\w+)['"][,)]|data-(?:say|label|alt|t)="(\w+)\"""", code)
    assert {one or other for one, other in asked} - set(PAGES[page]) == set()
    assert len(asked) > 5 or page == "sentence"


def test_one_more_language_is_one_more_file(tmp_path, monkeypatch):
    shutil.copytree(languages.LOCALE, tmp_path / "locale")
    monkeypatch.setattr(languages, "LOCALE", tmp_path / "locale")
    renew("xx")
    file = place_of("xx")
    said = re.sub(
        r'msgid ((?:".*"\n)+)msgstr ""', r'msgid \1msgstr "x"\n\1', file.read_text(encoding="utf-8")
    )
    file.write_text(said, encoding="utf-8")
    assert languages.languages() == ["en", *OTHERS, "xx"]
    assert all(e.string == f"x{e.id}" for e in read("xx") if e.id)
    test_every_text_is_translated_and_none_is_left_over("xx")

    assert words.Words("xx")("progress", done=2, count=3) == "x2 of 3 inspected"
    assert describing.say_place({"down": 0, "right": 0}, "xx") == "xin the middle of the image"
    page = gallery([], language="xx")
    assert '"xInspections"' in page and '"language": "xx"' in page
    fig, ax = plt.subplots()
    ax.set(title="reliability, 286 images", xlabel="zebras")
    assert "zebras" in translate_figure(fig, "xx") and ax.get_title() == "xreliability, 286 images"
    plt.close(fig)


if __name__ == "__main__":
    for name in [*languages.languages()[1:], *sys.argv[1:]]:
        renew(name)
