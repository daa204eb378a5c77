"""A run on the sample learns something: gates that labels dealt out at random do not pass."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from mvtec_xai.blocks.runs import write_table
from mvtec_xai.tools.phases import Plan
from mvtec_xai.tools.reproduce import reproduce

RUN = ROOT / "runs" / "test"  # made by `make test`


@pytest.fixture(scope="module")
def run():
    if not (RUN / "06_pipeline" / "headline.json").is_file():
        pytest.skip("no finished run in runs/test; `make test` makes it")
    return RUN


def table(run, name: str) -> pd.DataFrame:
    return pd.read_csv(run / "figures" / "tables" / f"{name}.csv")


def failed_detection(run) -> list[str]:
    "The gates of phase 01 that `run` does not pass."
    mean = table(run, "detection").set_index("category").loc["mean"]
    gates = {
        "image AUROC at least 0.9": mean.image_auroc >= 0.9,
        "above the linear probe, or nearly": mean.image_auroc >= mean.probe_auroc - 0.02,
        "F1 above calling everything defective": mean.f1 > mean.all_defective_f1 + 0.01,
        "calibration error at most 0.15": mean.ece <= 0.15,  # ten bins of four images
    }
    return [name for name, passed in gates.items() if not passed]


def test_the_detector_has_learned(run):
    assert failed_detection(run) == []


def test_the_maps_beat_a_blob_and_chance(run):
    methods = table(run, "localisation_methods").set_index("method")
    for measure in ("pixel_auroc", "aupro", "pointing"):
        assert (
            methods[measure]["chosen"] > methods[measure][["gaussian", "random", "randomcam"]].max() + 0.05
        ), measure


def test_types_are_named_better_than_by_the_commonest(run):
    types = table(run, "types").query("category == 'mean'").set_index(["region", "method"]).accuracy
    assert types["heatmap", "supcon"] > types["whole", "majority"] + 0.2


def test_labels_at_random_do_not_pass(run, tmp_path):
    "The same phase 01, on labels dealt out anew among all images of the test folder."
    shutil.copytree(run / "00_data", tmp_path / "00_data", ignore=shutil.ignore_patterns("sample"))
    index = pd.read_parquet(tmp_path / "00_data" / "index.parquet")
    tested = index.index[index.folder == "test"]
    dealt = np.random.default_rng(0).permutation(tested)
    index.loc[tested, ["label", "defect"]] = index.loc[dealt, ["label", "defect"]].to_numpy()
    index["mask_path"] = None
    cache = json.loads((tmp_path / "00_data" / "cache" / "cache.json").read_text())
    np.load(tmp_path / "00_data" / "cache" / cache["masks"], mmap_mode="r+")[:] = 0
    write_table(tmp_path / "00_data" / "index.parquet", index.assign(label=index.label.astype(int)))
    plan = Plan(ROOT / "nbs", tmp_path, tmp_path / "figures", overrides={"01_classifier": {"steps": 40}})
    reproduce(plan, only="01")
    assert "image AUROC at least 0.9" in failed_detection(tmp_path)
    assert abs(table(tmp_path, "detection").set_index("category").image_auroc["mean"] - 0.5) < 0.25
