"""The house grows: a category more leaves the others as they are, a stage more is seen everywhere and gone again."""

import csv
import shutil

import pandas as pd
import pytest
from conftest import COLUMNS, ROOT, SIZES, TINY
from safetensors.numpy import load_file

from mvtec_xai.blocks.runs import read_json, write_json
from mvtec_xai.sample.dataset import make_sample
from mvtec_xai.stages import STAGES, Stage
from mvtec_xai.tools.inspection import inspect_paths
from mvtec_xai.tools.phases import Plan
from mvtec_xai.tools.reproduce import reproduce


@pytest.fixture(scope="module")
def with_a_third(own, finished, tmp_path_factory):
    "The first phases on `own` and a category more."
    folder = tmp_path_factory.mktemp("third")
    root, run = folder / "data", folder / "run"
    shutil.copytree(own, root)
    make_sample(folder / "drawn", train=6, good=5, per_type=4, size=64, categories=["screw"])
    (folder / "drawn" / "screw").rename(root / "bolt")
    plan = Plan(ROOT / "nbs", run, run / "figures", data=str(root), overrides=TINY)
    for phase in ("00", "01"):
        reproduce(plan, only=phase)
    return run


def test_a_category_more_leaves_the_others_bit_for_bit(finished, with_a_third):
    before, after = (
        pd.read_parquet(r / "01_classifier" / "predictions.parquet") for r in (finished, with_a_third)
    )
    assert set(after.category) - set(before.category) == {"bolt"}
    same = after[after.category != "bolt"].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, before.reset_index(drop=True), check_exact=True)
    old, new = (
        read_json(r / "01_classifier" / "config.json")["thresholds"] for r in (finished, with_a_third)
    )
    for category in old:
        assert new[category] == old[category]
        heads = [
            load_file(r / "01_classifier" / category / "model.safetensors") for r in (finished, with_a_third)
        ]
        assert all((heads[0][name] == heads[1][name]).all() for name in heads[0])


class Brightness(Stage):
    columns = ("brightness",)

    @classmethod
    def load(cls, folder, shared):
        return cls()

    def __call__(self, tasks):
        for task in tasks:
            task.inspection.extra["brightness"] = round(float(task.image.mean()) / 255, 3)

    def describe(self, inspection):
        return {"light": f"{inspection.extra['brightness']:.0%} of full scale"}


def test_a_stage_more_is_seen_in_table_and_page(own, finished, tmp_path, monkeypatch):
    images, run = [own / "washer" / "test" / "good"], tmp_path / "run"
    shutil.copytree(finished, run)
    write_json(run / "19_example" / "stage.json", {"stage": "brightness"})
    with pytest.raises(ValueError, match="'brightness' is not known"):
        inspect_paths(images, run, tmp_path / "unknown")
    monkeypatch.setitem(STAGES, "brightness", Brightness)
    inspect_paths(images, run, tmp_path / "out")
    with open(tmp_path / "out" / "inspections.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == [*COLUMNS[:-4], "brightness", *COLUMNS[-4:], *SIZES]
    assert all(0 < float(r["brightness"]) < 1 for r in rows)
    assert "of full scale" in (tmp_path / "out" / "index.html").read_text()
    shutil.rmtree(run / "19_example")
    inspect_paths(images, run, tmp_path / "gone")
    with open(tmp_path / "gone" / "inspections.csv", newline="") as table:
        assert next(csv.reader(table)) == [*COLUMNS, *SIZES]
