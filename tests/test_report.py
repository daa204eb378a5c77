"""The written report: its numbers are those of the tables, everything in the folder is in it, and what is missing does not stop it."""

import json
import re
import shutil
import sys
import tempfile
from datetime import date
from pathlib import Path

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


def text_of(figures: Path, out: Path) -> str:
    pages = PdfReader(build_report(figures, out, ROOT, DAY)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


def used_by(figures: Path) -> set[str]:
    "What the report says that it shows; it has to come to rest, and without a warning."
    with tempfile.TemporaryDirectory() as stage:
        gather(figures, ROOT, Path(stage), DAY)
        source, where = Path(stage) / "memoria.typ", {"root": stage, "ignore_system_fonts": True}
        _, warnings = typst.compile_with_warnings(source, **where)
        assert [w.message for w in warnings] == []
        return set(json.loads(typst.query(source, "<usado>", field="value", **where)))


def in_folder(figures: Path) -> set[str]:
    return {
        p.relative_to(figures).with_suffix("").as_posix()
        for p in figures.rglob("*")
        if p.suffix in (".png", ".csv")
    }


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    "A copy of the repository's figures, with a table and a picture that no phase writes, and tables that hold nothing."
    folder = tmp_path_factory.mktemp("report") / "figures"
    shutil.copytree(ROOT / "figures", folder)
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


def test_everything_in_the_folder_is_shown(figures, built):
    assert used_by(figures) == in_folder(figures)
    images = {
        str(image)
        for page in PdfReader(figures.parent / "report.pdf").pages
        for image in page["/Resources"].get("/XObject", {}).values()
        if image.get_object()["/Subtype"] == "/Image"
    }
    assert len(images) >= len(list(figures.rglob("*.png")))
    assert [k for k in range(20) if f"measure{k}" not in built] == []  # a wide table is split, not cut


def test_real_tables_stand_beside_those_of_the_sample(built):
    about = json.loads((ROOT / "figures" / "mvtec_ad" / "tables" / "about.json").read_text())
    assert f"{about['image_size']} píxeles de lado" in built and f"{about['folds']} particiones" in built
    for folder in ("tables", "mvtec_ad/tables"):
        mean = pd.read_csv(ROOT / "figures" / folder / "detection.csv").set_index("category").loc["mean"]
        shown = [f"{mean[c]:.3f}".replace(".", ",") for c in ("image_auroc", "auroc_low", "auroc_high", "f1")]
        assert f"{shown[0]} (IC del 95 %: {shown[1]}–{shown[2]})" in built and shown[3] in built


def test_numbers_and_comparisons_follow_the_tables(figures, built, tmp_path):
    shutil.copytree(figures / "tables", tmp_path / "figures" / "tables")
    path = tmp_path / "figures" / "tables" / "detection.csv"
    table = pd.read_csv(path).set_index("category")

    def with_mean(auroc: float) -> str:
        table.loc["mean", ["image_auroc", "probe_auroc"]] = auroc, 0.5
        table.to_csv(path)
        return text_of(tmp_path / "figures", tmp_path / "report.pdf")

    low, high = with_mean(0.43217), with_mean(0.87654)
    assert (
        "0,432" in low
        and "por debajo de la sonda lineal (0,500)" in low
        and "0,877" not in low.split("Referencias")[0]
    )
    assert "0,877" in high and "por encima de la sonda lineal (0,500)" in high


def test_a_nearly_empty_folder_gives_a_report(tmp_path, built):
    (tmp_path / "figures" / "tables").mkdir(parents=True)
    (tmp_path / "figures" / "tables" / "data_counts.csv").write_text(
        "category,folder,defect,images\nlid,test,good,4\nlid,test,bent,7\n"
    )
    text = text_of(tmp_path / "figures", tmp_path / "report.pdf")
    assert text.count(MISSING) > 40 > built.count(MISSING)
    assert "bent (7)" in text and "sin manifiesto" in text
    assert used_by(tmp_path / "figures") == {"tables/data_counts"}


def test_no_result_is_typed_in_the_text():
    text = (ROOT / "report" / "memoria.typ").read_text(encoding="utf-8")
    assert set(re.findall(r"\b\d+[,.]\d{1,}\b(?!cm)", text)) <= {
        "0,3",
        "0,5",
        "0.5",
        "4.0",
    }  # the limit of AUPRO, chance, the licence
    assert set(re.findall(r"(\d+)[ ~]%", text)) == {"95"}


def test_it_says_what_it_needs(figures, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(ValueError, match="pip install typst"):
        build_report(figures, tmp_path / "report.pdf", ROOT)


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "figures" / "tables").mkdir(parents=True)
    (tmp_path / "figures" / "tables" / "odd.csv").write_text("a,b\n1\n")
    with pytest.raises(RuntimeError, match="odd"):
        build_report(tmp_path / "figures", tmp_path / "report.pdf", ROOT)


def test_a_report_that_fails_leaves_the_run_finished(tmp_path):
    plan = Plan(ROOT / "nbs", tmp_path / "run", tmp_path / "nowhere", reads={"00_data": ()})
    manifest = {"phases": {"00_data": {}}}
    assert "all phases are done" in report_of(plan, manifest) and "mvtec-xai report --run" in report_of(
        plan, manifest
    )
    assert report_of(plan, {"phases": {}}) is None  # some phase is not done: no report yet
    shutil.copytree(ROOT / "figures" / "tables", tmp_path / "nowhere" / "tables")
    assert report_of(plan, manifest) is None and (tmp_path / "run" / "memoria.pdf").is_file()


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_tables_with_other_columns_do_not_stop_it(tmp_path, kept):
    shutil.copytree(ROOT / "figures" / "tables", tmp_path / "figures" / "tables")
    for path in (tmp_path / "figures" / "tables").glob("*.csv"):
        table = pd.read_csv(path)
        table.rename(columns={c: f"{c}_new" for c in table.columns[kept:]}).to_csv(path, index=False)
    assert used_by(tmp_path / "figures") == in_folder(tmp_path / "figures")
