"""An exported pipeline: judges as the package does, where neither PyTorch nor the package can be imported."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import files, requires

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from PIL import Image, ImageOps

from mvtec_xai.blocks.photographs import read_image, to_square

pytest.importorskip("onnxruntime")

# In place of `python -m inspector`, where these modules are as if they were not installed.
ALONE = """
import runpy, sys
sys.modules |= dict.fromkeys(("torch", "timm", "mvtec_xai", "scipy", "pandas"))
sys.argv[0] = "inspector"
runpy.run_module("inspector", run_name="__main__", alter_sys=False)
"""


@pytest.fixture(scope="module")
def exported(program, own, finished, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "parts"
    words = "export", "--run", finished, "--pipeline", "--out", out, "--images", own
    done = program(*words)
    assert done.returncode == 0 and "largest difference" in done.stdout, done.stderr
    again = program(*words)
    assert again.returncode == 2 and "exists already" in again.stderr
    return out


@pytest.mark.parametrize("fill", ["", "[10, 20, 30]"])
@pytest.mark.parametrize(
    "name, bits", [("plain.png", ""), ("turned.jpg", ""), ("clear.png", ""), ("deep.png", "12")]
)
def test_the_recipe_of_the_page_hands_over_what_the_package_would(tmp_path, name, bits, fill):
    rng = np.random.default_rng(0)
    picture, exif = Image.fromarray(rng.integers(0, 255, (40, 90, 3), np.uint8)), Image.Exif()
    exif[0x0112] = 6  # turn right to see it upright
    if name == "clear.png":
        picture.putalpha(Image.fromarray(rng.integers(0, 255, (40, 90), np.uint8)))
    if name == "deep.png":
        picture = Image.fromarray(rng.integers(0, 4095, (40, 90)).astype(np.uint16))
    picture.save(tmp_path / name, exif=exif)
    page = "".join("".join(c["source"]) for c in json.loads((ROOT / "nbs/deploy.ipynb").read_text())["cells"])
    recipe = re.search(r"picture = ImageOps.*?(?=probability, patch_map)", page, re.DOTALL)[0]
    made = {"json": json, "np": np, "Image": Image, "ImageOps": ImageOps}
    made |= {"about": {"bits": bits, "fill": fill}, "side": 64}
    exec(recipe.replace("part.png", str(tmp_path / name)), made)
    ours = read_image(tmp_path / name, int(bits or 0) or None)
    assert np.array_equal(np.asarray(made["picture"]), to_square(ours, 64, json.loads(fill or "null")))


def inspector(exported, *words):
    command = [sys.executable, "-c", ALONE, *map(str, words)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(exported)}
    return subprocess.run(command, cwd=exported, env=environment, capture_output=True, text=True)


def test_it_judges_as_the_package_does(exported, program, own, finished, tmp_path):
    for category in ("lid", "washer"):
        shutil.copytree(own / category / "test", tmp_path / "photos" / category / "test")
    (tmp_path / "photos" / "lid" / "torn.png").write_bytes(b"no image")
    done = inspector(exported, tmp_path / "photos", "--out", tmp_path / "alone")
    assert done.returncode == 1, done.stderr  # one could not be judged
    program("inspect", tmp_path / "photos", "--run", finished, "--out", tmp_path / "ours")
    ours = pd.read_csv(tmp_path / "ours" / "inspections.csv").set_index("path").sort_index()
    alone = pd.read_csv(tmp_path / "alone" / "judged.csv").set_index("path").sort_index()
    assert list(alone.index) == list(ours.index) and alone.error.notna().sum() == 1
    assert "torn.png" in alone.error.dropna().index[0]
    judged = ours[ours.status == "ok"].index
    assert alone.verdict[judged].tolist() == ours.verdict[judged].tolist()
    assert alone.category[judged].tolist() == ours.category[judged].tolist()
    assert alone.verdict.nunique() > 1
    # the csv of the package has four decimals
    assert (alone.probability - ours.probability)[judged].abs().max() <= 1e-4 + 5e-5
    drawn = [Image.open(p) for p in (tmp_path / "alone").glob("*.png")]
    assert len(drawn) == (alone.verdict[judged] != "normal").sum()
    assert all(p.size == drawn[0].size for p in drawn)


@pytest.mark.parametrize(
    "words, said",
    [
        (("{own}/lid/test/good", "--category", "ring"), "of which category?"),
        (("{tmp}/nothing.png", "--category", "lid"), "cannot be read"),
    ],
)
def test_what_cannot_be_judged_has_a_row_that_says_why(exported, own, tmp_path, words, said):
    done = inspector(exported, *(w.format(own=own, tmp=tmp_path) for w in words), "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert pd.read_csv(tmp_path / "out" / "judged.csv").error.str.contains(said, regex=False).all()


def test_a_folder_without_photographs_is_told(exported, tmp_path):
    done = inspector(exported, tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 1 and "no photograph in it" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_earlier_result_is_not_overwritten(exported, own, tmp_path):
    words = own / "lid" / "test" / "good", "--out", tmp_path
    assert inspector(exported, *words).returncode == 0
    before = (tmp_path / "judged.csv").read_bytes()
    again = inspector(exported, *words)
    assert again.returncode == 2 and "name another --out" in again.stderr
    assert (tmp_path / "judged.csv").read_bytes() == before


def test_answers_that_differ_are_not_handed_over(finished, tmp_path, monkeypatch):
    from mvtec_xai import InspectionPipeline
    from mvtec_xai.tools import export_pipeline

    class Off(export_pipeline.Inspector):
        def judge(self, image, category):
            found = super().judge(image, category)
            return replace(found, probability=found.probability + 1e-3)

    monkeypatch.setattr(export_pipeline, "Inspector", Off)
    with pytest.raises(RuntimeError, match="not written"):
        export_pipeline.export_pipeline(InspectionPipeline.from_pretrained(finished), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_it_needs_is_small(exported):
    asked, seen = (exported / "requirements.txt").read_text().split(), set()
    while asked:
        name = asked.pop()
        if name not in seen:
            seen.add(name)
            found = map(Requirement, requires(name) or [])
            asked += [r.name for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
    size = sum(f.locate().stat().st_size for name in seen for f in files(name) if f.locate().is_file())
    own_size = sum(f.stat().st_size for f in exported.rglob("*") if f.is_file())
    assert size + own_size < 300e6, (seen, size, own_size)
