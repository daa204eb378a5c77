"""The written report: one source, numbers of its tables alone, everything in the folder in it, and pages that are worth turning."""

import json
import re
import shutil
import sys
import tempfile
from datetime import date
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typst
from conftest import ROOT
from PIL import Image
from pypdf import PdfReader

from mvtec_xai.tools.cli import _report_of as report_of
from mvtec_xai.tools.phases import Plan
from mvtec_xai.tools.report import build_report, gather

DAY = date(2026, 1, 31)
MISSING = "no disponible en esta ejecución"
REAL, DRAWN = ROOT / "figures" / "mvtec_ad", ROOT / "figures"
SOURCES = sorted((ROOT / "report").rglob("*.typ"))


def pages_of(figures: Path, out: Path) -> list[str]:
    return [page.extract_text() for page in PdfReader(build_report(figures, out, ROOT, DAY)).pages]


def text_of(figures: Path, out: Path) -> str:
    return " ".join(" ".join(pages_of(figures, out)).split())


def asked(figures: Path, what: str) -> list:
    "What the compiler finds under a label; the report has to come to rest, and without a warning."
    with tempfile.TemporaryDirectory() as stage:
        gather(figures, ROOT, Path(stage), DAY)
        source, where = Path(stage) / "memoria.typ", {"root": stage, "ignore_system_fonts": True}
        _, warnings = typst.compile_with_warnings(source, **where)
        assert [w.message for w in warnings] == []
        return json.loads(typst.query(source, what, field="value", **where))


def in_folder(figures: Path) -> set[str]:
    found = [*figures.glob("*.png"), *(figures / "tables").glob("*.csv")]
    return {p.relative_to(figures).with_suffix("").as_posix() for p in found}


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    "A copy of the drawn sample's figures, with a table and a picture that no phase writes, and tables that hold nothing."
    folder = tmp_path_factory.mktemp("report") / "figures"
    shutil.copytree(DRAWN, folder, ignore=shutil.ignore_patterns("mvtec_ad"))
    pd.DataFrame(
        [[f"row {r}", *range(20)] for r in range(3)], columns=["name", *(f"measure{k}" for k in range(20))]
    ).to_csv(folder / "tables" / "novelty.csv", index=False)
    (folder / "tables" / "hollow.csv").write_text("")
    (folder / "tables" / "deletion.csv").write_text("map,0.01\n")
    Image.new("RGB", (3000, 50), "red").save(folder / "novel_picture.png")
    return folder


@pytest.fixture(scope="module")
def built(figures):
    return text_of(figures, figures.parent / "report.pdf")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    "Of the repository's own report."
    return pages_of(REAL, tmp_path_factory.mktemp("real") / "report.pdf")


def test_everything_in_the_folder_is_shown(figures, built):
    assert set(asked(figures, "<usado>")) == in_folder(figures)
    images = {
        str(image)
        for page in PdfReader(figures.parent / "report.pdf").pages
        for image in page["/Resources"].get("/XObject", {}).values()
        if image.get_object()["/Subtype"] == "/Image"
    }
    assert len(images) >= len(list(figures.glob("*.png")))
    assert [k for k in range(20) if f"measure{k}" not in built] == []  # a wide table is split, not cut


def test_the_repositorys_report_is_of_real_images_and_short(pages):
    text = " ".join(" ".join(pages).split())
    assert len(pages) <= 42 and len(asked(REAL, "<en-el-texto>")) <= 19
    mean = pd.read_csv(REAL / "tables" / "detection.csv").set_index("category").loc["mean"]
    shown = [f"{mean[c]:.3f}".replace(".", ",") for c in ("image_auroc", "auroc_low", "auroc_high")]
    assert f"{shown[0]} (IC del 95 %: {shown[1]}–{shown[2]})" in text and MISSING not in text
    told = json.loads((REAL / "manifest.json").read_text())["parameters"]["00_data"]
    assert f"a {told['image_size']} píxeles de lado y se reparten en {told['folds']} particiones" in text
    drawn = pd.read_csv(DRAWN / "tables" / "detection.csv").set_index("category").image_auroc["mean"]
    assert text.count(f"{drawn:.3f}".replace(".", ",")) >= 1  # in its paragraph
    assert "Otras tablas y figuras" not in text  # nothing is left over, so there is no such appendix


def test_numbers_have_the_digits_that_mean_something(pages):
    text = " ".join(pages).split("Referencias [1]")[0]
    assert re.findall(r"\d,\d{4,}", text) == []
    assert re.findall(r"\d{4,},\d+", text) == []  # as 1068,000 seconds
    assert re.findall(r"\d,\d00 (?:segundos|ms|MB|imágenes)", text) == []


def test_numbers_and_comparisons_follow_the_tables(figures, built, tmp_path):
    shutil.copytree(figures / "tables", tmp_path / "figures" / "tables")
    path = tmp_path / "figures" / "tables" / "detection.csv"
    table = pd.read_csv(path).set_index("category")

    def with_mean(auroc: float) -> str:
        table.loc["mean", ["image_auroc", "auroc_low", "auroc_high", "probe_auroc"]] = (
            auroc,
            auroc - 0.01,
            auroc + 0.01,
            0.5,
        )
        table.to_csv(path)
        return text_of(tmp_path / "figures", tmp_path / "report.pdf").split("Referencias [1]")[0]

    low, same, high = with_mean(0.43217), with_mean(0.50712), with_mean(0.77754)
    assert "0,432" in low and "no alcanza a la sonda lineal" in low and "0,778" not in low
    assert "no se distingue de la sonda lineal" in same
    assert "0,778" in high and "supera a la sonda lineal" in high


def test_a_run_has_the_chapters_of_its_phases(tmp_path, built):
    (tmp_path / "figures" / "tables").mkdir(parents=True)
    (tmp_path / "figures" / "tables" / "data_counts.csv").write_text(
        "category,folder,defect,images\nlid,test,good,4\nlid,test,bent,7\n"
    )
    text = text_of(tmp_path / "figures", tmp_path / "report.pdf")
    assert "Trampas de estos datos" in text and "sin manifiesto" in text and "Más tablas" not in text
    assert "Segunda opinión" not in text and "Segunda opinión" in built
    assert set(asked(tmp_path / "figures", "<usado>")) == {"tables/data_counts"}


def test_a_chapter_comes_as_one_file(tmp_path):
    shutil.copytree(ROOT / "report", tmp_path / "report")
    (tmp_path / "figures" / "tables").mkdir(parents=True)
    (tmp_path / "figures" / "tables" / "novelty.csv").write_text("category,auroc\nmean,0.61803\n")
    (tmp_path / "report" / "capitulos" / "10_novelty.typ").write_text(
        '#import "../base.typ": *\n= Lo nuevo\nEl AUROC es #valor("novelty", "auroc").\n#tabla("novelty", [Lo nuevo.])\n'
    )
    made = build_report(tmp_path / "figures", tmp_path / "report.pdf", tmp_path, DAY)
    text = " ".join(" ".join(page.extract_text() for page in PdfReader(made).pages).split())
    assert "Lo nuevo El AUROC es 0,62." in text


def test_no_page_is_nearly_empty():
    with tempfile.TemporaryDirectory() as stage:
        gather(REAL, ROOT, Path(stage), DAY)
        how = {"root": stage, "ignore_system_fonts": True, "format": "png", "ppi": 24}
        drawn = [
            Image.open(BytesIO(p)).convert("L") for p in typst.compile(Path(stage) / "memoria.typ", **how)
        ]
    for number, page in enumerate(drawn[:-1], 1):
        inked = (np.asarray(page) < 200).any(axis=1)
        body = inked[len(inked) // 12 : len(inked) * 92 // 100]  # without head and number
        gap = max(len(run) for run in "".join("x" if row else " " for row in body).split("x"))
        assert gap < 0.22 * len(inked), f"page {number}"


def test_no_result_is_typed_in_the_text():
    for path in [p for p in SOURCES if p.parent.name == "capitulos" or p.name == "memoria.typ"]:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"\b\d+,\d+\b", text)) <= {"0,3", "0,5", "0,001"}, (
            path
        )  # limit of AUPRO, chance, p
        plain = [line for line in text.split("\n") if not re.search(r"[#{(:]", line)]
        assert set(re.findall(r"\d+\.\d+", "\n".join(plain))) <= {"4.0"}, path  # the licence
        assert set(re.findall(r"(\d+)[ ~]+%", text)) <= {"95"}, path


def test_one_word_for_one_thing():
    "Words that were given up for another, in what people read in Spanish."
    given_up = (
        "puntero",
        "defectos perdidos",
        "autoencoder",
        "no vale por derecho",
        "hija de la de",
        "búsquense",
        "lectura dura",
    )
    words = (ROOT / "nbs" / "tools" / "words.ipynb").read_text(encoding="utf-8")
    texts = {
        path.name: path.read_text(encoding="utf-8").lower() for path in [*SOURCES, ROOT / "README.es.md"]
    }
    # keys are names that tables have, in English; what they are translated to is read
    texts = {name: re.sub(r"\"[^\"\n]*\":|\"[\w_]*\"|`[^`]*`", "", text) for name, text in texts.items()}
    assert [(n, w) for n, text in texts.items() for w in given_up if w in text] == []
    assert "el autoencoder" not in words


def test_only_plots_that_the_report_shows_are_kept():
    kept = {p.stem for p in REAL.glob("*.png")}
    assert kept == {name for name in asked(REAL, "<usado>") if "/" not in name}
    assert sum(p.stat().st_size for p in REAL.glob("*.png")) < 1_500_000


def test_it_says_what_it_needs(figures, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(ModuleNotFoundError, match=r"mvtec_xai\[report\]"):
        build_report(figures, tmp_path / "report.pdf", ROOT)


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "figures" / "tables").mkdir(parents=True)
    (tmp_path / "figures" / "tables" / "odd.csv").write_text("a,b\n1\n")
    with pytest.raises(RuntimeError, match="odd"):
        build_report(tmp_path / "figures", tmp_path / "report.pdf", ROOT)


def test_a_report_that_fails_leaves_the_run_finished(tmp_path):
    plan = Plan(ROOT / "nbs", tmp_path / "run", tmp_path / "nowhere", reads={"00_data": ()})
    said = report_of(plan)
    assert "all phases are done" in said and "mvtec-xai report --run" in said
    shutil.copytree(ROOT / "figures" / "tables", tmp_path / "nowhere" / "tables")
    assert report_of(plan) is None and (tmp_path / "run" / "memoria.pdf").is_file()


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_tables_with_other_columns_do_not_stop_it(tmp_path, kept):
    shutil.copytree(ROOT / "figures" / "tables", tmp_path / "figures" / "tables")
    for path in (tmp_path / "figures" / "tables").glob("*.csv"):
        table = pd.read_csv(path)
        table.rename(columns={c: f"{c}_new" for c in table.columns[kept:]}).to_csv(path, index=False)
    assert set(asked(tmp_path / "figures", "<usado>")) == in_folder(tmp_path / "figures")
