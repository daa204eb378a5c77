"""Outlines: what phase 11 leaves, what the pipeline and the command line make of it, and what happens without."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import COLUMNS, SIZES, suspecting
from PIL import Image

from mvtec_xai import InspectionPipeline
from mvtec_xai.blocks.runs import read_json
from mvtec_xai.segment_stage import Segment
from mvtec_xai.tools.inspection import inspect_paths
from mvtec_xai.tools.outlines import Outlining
from mvtec_xai.tools.reasons import outline_step
from mvtec_xai.tools.words import Words

FOLDER = "11_segmentation"


@pytest.fixture(scope="module")
def eager(finished, tmp_path_factory):
    "The finished run with a detector that suspects every part, and a decoder that marks the likeliest pixels."
    run = suspecting(finished, tmp_path_factory.mktemp("eager") / "run")
    drawn = read_json(run / FOLDER / "config.json")
    drawn["categories"]["washer"]["cut"] = 1e-6
    (run / FOLDER / "config.json").write_text(json.dumps(drawn))
    return run


def rows_in(out) -> list[dict]:
    with open(out / "inspections.csv", newline="") as table:
        return list(csv.DictReader(table))


def test_the_phase_keeps_maps_measures_and_a_stage(finished):
    kept = pd.read_parquet(finished / FOLDER / "maps.parquet")
    maps = np.load(finished / FOLDER / "maps.npy", mmap_mode="r")
    assert len(kept) == len(maps) and maps.dtype == np.float16 and maps.shape[1:] == (64, 64)
    assert {i.split("/")[0] for i in kept.image_id} == {"washer"}  # `lid` has no masks
    scored = pd.read_parquet(finished / FOLDER / "segmentation.parquet")
    assert list(scored) == ["image_id", "category", "defect", "fold", "network", "measure", "value"]
    assert {"unet", "deeplabv3plus", "gradcam", "distances", "autoencoder", "gaussian"} == set(scored.network)
    assert read_json(finished / FOLDER / "stage.json") == {"stage": "segment", "before": "type"}
    assert set(read_json(finished / FOLDER / "config.json")["categories"]) == {"washer"}


def test_a_suspicious_part_is_outlined_and_one_without_outlines_says_so(eager, own):
    pipeline = InspectionPipeline.from_pretrained(eager)
    assert list(pipeline.stages) == ["detect", "explain", "verify", "segment", "type", "expect", "describe"]
    washer, lid = (pipeline.inspect(own / c / "test" / "good" / "000.png") for c in ("washer", "lid"))
    assert washer.suspicious and washer.mask.dtype == bool and washer.mask.shape == (64, 64)
    assert washer.to_dict()["defects"] == len(washer.extra["defect_list"]) > 0
    assert lid.suspicious and lid.mask is None and "defects" not in lid.to_dict()
    image = np.zeros((64, 64, 3), np.uint8)
    assert "no outlines in this category" in outline_step(lid, image, Words("en")).text
    assert outline_step(washer, image, Words("es")).text.startswith("Defectos: ")


def test_masks_coco_and_millimetres(eager, own, program, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    images, out = tmp_path / "washer", tmp_path / "out"
    images.mkdir()
    picture = Image.open(own / "washer" / "test" / "good" / "000.png").convert("RGB")
    picture.resize((160, 120)).save(images / "wide.png")
    asked = ("--save-masks", "--coco", "--mm-per-pixel", "0.5")
    done = program("inspect", images, "--run", eager, "--out", out, *asked)
    assert done.returncode == 0, done.stderr
    (row,) = rows_in(out)
    assert list(row) == [
        *COLUMNS,
        *SIZES,
        "defect_area_mm2",
        "largest_defect_mm2",
        "longest_side_mm",
    ]
    assert float(row["defect_area_mm2"]) == pytest.approx(float(row["defect_area"]) / 4, rel=1e-3)
    mask = np.asarray(Image.open(out / "masks" / "wide.png"))
    assert mask.shape == (120, 160) and set(np.unique(mask)) <= {0, 255} and mask.any()
    read = coco.COCO(out / "coco.json")
    assert [(i["file_name"], i["width"], i["height"]) for i in read.imgs.values()] == [("wide.png", 160, 120)]
    assert len(read.anns) == int(row["defects"])
    drawn = np.any([read.annToMask(a) for a in read.anns.values()], axis=0)
    assert drawn[mask > 0].mean() > 0.97  # holes are filled, edges are rounded
    assert "mm" in (out / "index.html").read_text(encoding="utf-8")


def test_small_defects_are_tolerated_only_where_asked(eager, own, tmp_path):
    images = [own / "washer" / "test" / "good"]
    inspect_paths(images, eager, tmp_path / "strict")
    assert {r["verdict"] for r in rows_in(tmp_path / "strict")} == {"anomalous"}
    inspect_paths(images, eager, tmp_path / "mild", outlining=Outlining(ignore_below=1e6))
    found = rows_in(tmp_path / "mild")
    assert {r["verdict"] for r in found} == {"normal"}
    assert all(int(r["ignored"]) == int(r["defects"]) > 0 and float(r["probability"]) > 0 for r in found)
    inspect_paths(images, eager, tmp_path / "small", outlining=Outlining(ignore_below=0.5))
    assert {r["verdict"] for r in rows_in(tmp_path / "small")} == {"anomalous"}


def test_a_run_without_the_phase_works_as_before(finished, own, program, tmp_path):
    run, out, image = tmp_path / "run", tmp_path / "out", own / "washer" / "test" / "good" / "000.png"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns(FOLDER))
    assert list(InspectionPipeline.from_pretrained(run).stages) == [
        "detect",
        "explain",
        "verify",
        "type",
        "expect",
        "describe",
    ]
    refused = program("inspect", image, "--run", run, "--out", out, "--category", "washer", "--coco")
    assert refused.returncode == 2 and "--coco: this pipeline has learned no outlines" in refused.stderr
    done = program("inspect", image, "--run", run, "--out", out, "--category", "washer")
    assert done.returncode == 0, done.stderr
    assert list(rows_in(out)[0]) == [*COLUMNS]


def test_what_is_learned_later_has_no_outline_and_forgetting_takes_it_along(eager, own, tmp_path):
    pipeline = InspectionPipeline.from_pretrained(eager)
    good = sorted((own / "washer" / "train" / "good").glob("*.png"))
    learned = pipeline.learn("bolt", good)
    assert set(learned.stages["segment"].decoders) == {"washer"}
    anew = pipeline.learn("washer", good)
    assert not anew.stages["segment"].decoders  # its outlines were drawn on another memory of good parts
    rest = learned.forget("washer")
    assert not rest.stages["segment"].decoders and "washer" not in rest.categories
    assert not (rest.source / FOLDER / "washer.safetensors").exists()
    assert isinstance(rest.stages["segment"], Segment)


def test_a_stopped_inspection_is_resumed_with_the_same_outlines_only(eager, own, tmp_path):
    images, outlining = [own / "washer" / "test" / "good"], Outlining(coco=True)
    inspect_paths(images, eager, tmp_path / "out", outlining=outlining)
    with pytest.raises(ValueError, match="was begun with"):
        inspect_paths(images, eager, tmp_path / "out", resume=True)
    assert inspect_paths(images, eager, tmp_path / "out", resume=True, outlining=outlining) == 0
