"""A data set of one category, which is what most users have: whatever compares categories has nothing to compare."""

import shutil

from conftest import ROOT, TINY
from pypdf import PdfReader

from mvtec_xai import InspectionPipeline
from mvtec_xai.sample.dataset import make_sample
from mvtec_xai.tools.phases import Plan
from mvtec_xai.tools.report import build_report
from mvtec_xai.tools.reproduce import reproduce


def test_a_factory_has_one_kind_of_part(tmp_path):
    data = make_sample(tmp_path / "data", train=6, good=5, per_type=4, size=64, categories=["metal_nut"])
    plan = Plan(ROOT / "nbs", tmp_path / "run", tmp_path / "run" / "figures", data=str(data), overrides=TINY)
    assert {phase["status"] for phase in reproduce(plan)["phases"].values()} == {"done"}
    pages = PdfReader(build_report(plan.figures, tmp_path / "report.pdf", ROOT)).pages
    assert "usa una categoría: metal_nut" in " ".join(page.extract_text() for page in pages)
    picture = shutil.copy(next((data / "metal_nut" / "test" / "good").iterdir()), tmp_path)
    told = InspectionPipeline.from_pretrained(plan.run).inspect(picture)
    assert (told.category, told.category_source) == ("metal_nut", "model")


def test_the_least_that_a_study_asks_for(tmp_path):
    data = make_sample(tmp_path / "data", train=4, good=1, per_type=3, size=64, categories=["bottle"])
    for kind in [*(data / "bottle/test").iterdir(), *(data / "bottle/ground_truth").iterdir()]:
        if kind.name not in ("good", "broken_large"):
            shutil.rmtree(kind)
    plan = Plan(ROOT / "nbs", tmp_path / "run", tmp_path / "run" / "figures", data=str(data), overrides=TINY)
    status = {name: phase["status"] for name, phase in reproduce(plan)["phases"].items()}
    assert status.pop("13_semantic").startswith("left out: one type of defect in all")
    assert set(status.values()) == {"done"}
    assert build_report(plan.figures, tmp_path / "report.pdf", ROOT).is_file()
    assert InspectionPipeline.from_pretrained(plan.run).categories == ["bottle"]
