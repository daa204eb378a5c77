"""Which part is it? Mixed parts without a word of what they are, parts in the wrong folder, and what is no known part."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mvtec_xai.blocks.photographs import read_image
from mvtec_xai.pipeline import InspectionPipeline
from mvtec_xai.sample.dataset import make_sample
from mvtec_xai.tools.inspection import inspect_paths


@pytest.fixture(scope="module")
def mixed(own, tmp_path_factory):
    "Lids and washers in one folder, a photograph of noise among them."
    folder = tmp_path_factory.mktemp("mixed")
    for name in ("lid", "washer"):
        for path in sorted((own / name / "test").rglob("*.png")):
            shutil.copy(path, folder / f"{name}-{path.parent.name}-{path.name}")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    return folder


def rows_of(images, run, out) -> pd.DataFrame:
    assert inspect_paths([images], run, out) == 0
    return pd.read_csv(out / "inspections.csv", keep_default_na=False).set_index(
        pd.Index([p.name for p in sorted(images.rglob("*.png"))])
    )


def test_mixed_parts_need_no_category(mixed, finished, tmp_path):
    rows = rows_of(mixed, finished, tmp_path / "out")
    known = rows[rows.index != "noise.png"]
    assert (known.category == [name.split("-")[0] for name in known.index]).all()
    assert set(rows.category_source) == {"model"}
    assert (known.category_suggested == "").all() and (known.category_confidence.astype(float) > 0.5).all()
    noise = rows.loc["noise.png"]
    assert (noise.category, noise.verdict, noise.probability) == ("", "unfamiliar", "")
    assert noise.category_suggested in ("lid", "washer")
    lines = [json.loads(x) for x in (tmp_path / "out" / "inspections.jsonl").read_text().splitlines()]
    assert [x["probability"] for x in lines if x["name"] == "noise.png"] == [None]
    assert "NaN" not in (tmp_path / "out" / "index.html").read_text()


def test_a_part_in_the_wrong_folder_is_found(mixed, finished, tmp_path):
    wrong = tmp_path / "washer"
    wrong.mkdir()
    for path in mixed.glob("lid-good-*.png"):
        shutil.copy(path, wrong)
    shutil.copy(next(mixed.glob("washer-good-*.png")), wrong)
    rows = rows_of(wrong, finished, tmp_path / "out")
    lids = rows[rows.index.str.startswith("lid")]
    assert set(rows.category_source) == {"folder"} and set(rows.category) == {"washer"}
    assert set(lids.verdict) == {"unfamiliar"} and set(lids.category_suggested) == {"lid"}
    assert rows[rows.index.str.startswith("washer")].category_suggested.tolist() == [""]


def test_what_is_given_stands(mixed, finished):
    pipeline, lid = InspectionPipeline.from_pretrained(finished), next(mixed.glob("lid-good-*.png"))
    found = pipeline.inspect(lid, "washer")
    assert (found.category, found.category_source, found.category_suggested) == ("washer", "given", "lid")
    pipeline.recogniser = None  # as in a run without phase 10
    assert pipeline.inspect(lid, "washer").probability == found.probability
    with pytest.raises(ValueError, match="--category"):
        pipeline.inspect(lid)


def test_it_is_saved_taught_and_forgotten(mixed, finished, tmp_path):
    pipeline = InspectionPipeline.from_pretrained(finished)
    saved = InspectionPipeline.from_pretrained(pipeline.save_pretrained(tmp_path / "saved"))
    paths = sorted(str(p) for p in mixed.glob("*.png"))
    alike = ("category", "verdict", "category_confidence", "category_suggested")
    before = [[getattr(i, n) for n in alike] for i in pipeline.inspect(paths)]
    assert [[getattr(i, n) for n in alike] for i in saved.inspect(paths)] == before
    capsules = make_sample(tmp_path / "drawn", train=4, good=1, per_type=1, size=64, categories=["capsule"])
    good = sorted((capsules / "capsule" / "train" / "good").glob("*.png"))
    taught = saved.learn("capsule", good)
    for name in ("lid", "washer"):
        file = f"10_category/{name}.safetensors"
        assert (taught.source / file).read_bytes() == (saved.source / file).read_bytes()
    new = read_image(next((capsules / "capsule" / "test" / "good").glob("*.png")))
    assert (taught.inspect(new).category, pipeline.inspect(new).category) == ("capsule", "")
    lid = next(mixed.glob("lid-good-*.png"))
    assert taught.inspect(lid, "lid").probability == pipeline.inspect(lid, "lid").probability
    forgotten = taught.forget("capsule")
    assert not (forgotten.source / "10_category" / "capsule.safetensors").exists()
    assert [[getattr(i, n) for n in alike] for i in forgotten.inspect(paths)] == before
