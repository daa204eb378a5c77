"""Nothing that judges an image has seen its label, mask or type: they are changed, and nothing that judges that image moves."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, TINY
from safetensors.numpy import load_file

from mvtec_xai.blocks.runs import write_table
from mvtec_xai.tools.phases import Plan
from mvtec_xai.tools.reproduce import reproduce

FOLD = 0


@pytest.fixture(scope="module")
def doctored(finished, own, tmp_path_factory):
    "A run on the same data, in which one defect of a fold has another mask and another type, and one good part of it is called defective."
    run = tmp_path_factory.mktemp("doctored")
    shutil.copytree(finished / "00_data", run / "00_data")
    path = run / "00_data" / "index.parquet"
    index = pd.read_parquet(path)
    tested = index[(index.category == "washer") & (index.fold == FOLD)]
    defect, good = tested[tested.label == 1].index[0], tested[tested.label == 0].index[0]
    other = next(
        d
        for d in sorted(set(index.defect[index.category == "washer"]))
        if d not in ("good", index.defect[defect])
    )
    cache = json.loads((run / "00_data" / "cache" / "cache.json").read_text())
    masks = np.load(run / "00_data" / "cache" / cache["masks"], mmap_mode="r+")
    masks[defect], masks[good] = 1 - masks[defect], 1
    masks.flush()
    index.loc[good, ["label", "defect", "mask_path"]] = 1, other, index.mask_path[defect]
    index.loc[defect, "defect"] = other
    write_table(path, index)
    plan = Plan(ROOT / "nbs", run, run / "figures", data=str(own), overrides=TINY)
    for phase in ("01", "02", "03", "04", "06", "11", "12"):
        reproduce(plan, only=phase)
    return run, index.image_id[defect], index.image_id[good]


def settings(run, phase: str) -> dict:
    return json.loads((run / phase / "config.json").read_text())


def rows_of(run, table: str, image_id: str, without=("label", "defect")) -> pd.DataFrame:
    found = pd.read_parquet(run / table)
    found = found[found.image_id == image_id].drop(columns=list(without), errors="ignore")
    return found.sort_values([c for c in ("kind", "region", "method") if c in found]).reset_index(drop=True)


def map_of(run, image_id: str, phase: str = "02_gradcam") -> np.ndarray:
    row = pd.read_parquet(run / phase / "maps.parquet").set_index("image_id").row[image_id]
    return np.load(run / phase / "maps.npy", mmap_mode="r")[row]


def test_detector_and_thresholds_do_not_move(finished, doctored):
    run, *changed = doctored
    for category in ("lid", "washer"):
        name = f"01_classifier/{category}/fold{FOLD}.safetensors"
        before, after = load_file(finished / name), load_file(run / name)
        assert all(np.array_equal(before[k], after[k]) for k in before) and before.keys() == after.keys()
    assert settings(finished, "01_classifier")["folds"][FOLD] == settings(run, "01_classifier")["folds"][FOLD]
    for image_id in changed:
        pd.testing.assert_frame_equal(
            *(rows_of(r, "01_classifier/predictions.parquet", image_id) for r in (finished, run))
        )


def test_painters_and_their_scores_do_not_move(finished, doctored):
    run, *changed = doctored
    phase = "12_generative"
    assert settings(finished, phase) == settings(run, phase)  # which painter, which difference, its scale
    for name in ("lid/vae", "lid/gan", "washer/vae", "washer/gan"):
        before, after = (load_file(r / phase / f"{name}.safetensors") for r in (finished, run))
        assert all(np.array_equal(before[k], after[k]) for k in before) and before.keys() == after.keys()
    for image_id in changed:
        scores = [rows_of(r, f"{phase}/scores.parquet", image_id).score for r in (finished, run)]
        pd.testing.assert_series_equal(*scores)


def test_map_scale_and_region_do_not_move(finished, doctored):
    run, *changed = doctored
    assert (
        settings(finished, "02_gradcam")["folds"][str(FOLD)]
        == settings(run, "02_gradcam")["folds"][str(FOLD)]
    )
    assert all(np.array_equal(map_of(finished, i), map_of(run, i)) for i in changed)


def test_second_opinion_does_not_move(finished, doctored):
    run, *changed = doctored
    for image_id in changed:
        for table in ("scores", "verification"):
            pd.testing.assert_frame_equal(
                *(rows_of(r, f"03_autoencoder/{table}.parquet", image_id) for r in (finished, run))
            )


def test_type_and_confidence_do_not_move(finished, doctored):
    run, defect, _ = doctored
    before, after = (
        rows_of(r, "04_contrastive/types.parquet", defect).query("region != 'mask'") for r in (finished, run)
    )
    assert len(before) > 5 and before.confidence.notna().any()
    pd.testing.assert_frame_equal(before, after)


def test_outline_and_cut_do_not_move(finished, doctored):
    run, *changed = doctored
    before, after = (settings(r, "11_segmentation")["folds"][str(FOLD)] for r in (finished, run))
    assert before == after
    assert all(np.array_equal(*(map_of(r, i, "11_segmentation") for r in (finished, run))) for i in changed)


def test_it_would_be_noticed(finished, doctored):
    "The change is not without effect: what judges the other folds did move."
    run, *_ = doctored
    name = "01_classifier/washer/fold1.safetensors"
    before, after = load_file(finished / name), load_file(run / name)
    assert any(not np.array_equal(before[k], after[k]) for k in before)
    scales = [settings(r, "02_gradcam")["folds"]["1"]["scales"]["washer"] for r in (finished, run)]
    assert scales[0] != scales[1]
    for phase in ("03_autoencoder/verification", "04_contrastive/types"):
        before, after = (pd.read_parquet(r / f"{phase}.parquet") for r in (finished, run))
        assert not before.equals(after), phase
    cuts = [settings(r, "11_segmentation")["folds"]["1"] for r in (finished, run)]
    assert cuts[0] != cuts[1]
