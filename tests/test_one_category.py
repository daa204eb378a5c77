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
