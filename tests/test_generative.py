"""Painters: what phase 12 leaves, what the pipeline, the command line and the page make of it, and what happens without."""

import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import suspecting
from PIL import Image

from mvtec_xai import InspectionPipeline
from mvtec_xai.blocks.runs import read_json
from mvtec_xai.expect_stage import Expect
from mvtec_xai.tools.inspection import inspect_paths
from mvtec_xai.tools.outlines import Outlining

FOLDER = "12_generative"


@pytest.fixture(scope="module")
def eager(finished, tmp_path_factory):
    "The finished run with a detector that suspects every part."
    return suspecting(finished, tmp_path_factory.mktemp("painted") / "run")


def test_the_phase_keeps_scores_and_a_stage(finished):
    scores = pd.read_parquet(finished / FOLDER / "scores.parquet")
    older = pd.read_parquet(finished / "03_autoencoder" / "scores.parquet")
    assert list(scores) == list(older) and set(scores.kind) == {"vae", "gan"}
    assert (
        set(scores.image_id) == set(older.image_id)
        and scores.percentile.between(0, 1, inclusive="neither").all()
    )
    assert read_json(finished / FOLDER / "stage.json") == {"stage": "expect"}


def test_a_part_is_painted_only_when_somebody_asks(eager, own):
    pipeline, path = InspectionPipeline.from_pretrained(eager), own / "washer" / "test" / "good" / "000.png"
    assert isinstance(pipeline.stages["expect"], Expect) and pipeline.inspect(path).expected is None
    pipeline.stages["expect"].asked = True
    found = pipeline.inspect(path)
    assert found.expected.dtype == np.uint8 and found.expected.shape == (32, 32, 3)
    assert found.difference.shape == (32, 32) and "expected" not in found.to_dict()
    assert [x.shape for x in found.compared(pipeline.read(path))] == [(32, 32, 3)] * 3


def test_pictures_are_saved_and_shown(eager, own, tmp_path, browser):
    out, asked = tmp_path / "out", Outlining(save_expected=True)
    assert inspect_paths([own / "washer" / "test" / "good"], eager, out, outlining=asked) == 0
    names = [p.name for p in sorted((own / "washer" / "test" / "good").iterdir())]
    for folder in ("expected", "differences"):
        pictures = sorted((out / folder).rglob("*.png"))
        assert [p.name for p in pictures] == names and Image.open(pictures[0]).size == (32, 32)
    page = browser.new_page()
    page.goto((out / "index.html").as_uri())
    page.locator("article").first.click()
    seen = [page.locator("#heat").get_attribute("src").split("/")[0]]
    for press in (lambda: page.keyboard.press("e"), page.locator("#view").click, page.locator("#view").click):
        press()
        seen.append(page.locator("#heat").get_attribute("src").split("/")[0])
        page.wait_for_function("document.getElementById('heat').naturalWidth > 0")
    assert seen == ["thumbs", "expected", "differences", "thumbs"]
    page.close()


def test_without_the_phase_it_works_as_before_and_says_what_to_run(finished, own, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns(FOLDER))
    pipeline = InspectionPipeline.from_pretrained(run)
    assert "expect" not in pipeline.stages
    with pytest.raises(ValueError, match="--save-expected: this pipeline has learned not how .* phase 12"):
        inspect_paths([own], run, tmp_path / "out", outlining=Outlining(save_expected=True))
    assert not (tmp_path / "out").exists()


def test_it_goes_with_a_saved_pipeline(finished, own, tmp_path):
    InspectionPipeline.from_pretrained(finished).save_pretrained(tmp_path / "saved")
    assert "expect" in InspectionPipeline.from_pretrained(tmp_path / "saved").stages
