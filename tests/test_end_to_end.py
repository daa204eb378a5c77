"""All phases on a folder of one's own, then `inspect` on what they made: categories nobody declared, one of them without masks."""

import csv
import json
import shutil

import numpy as np
from conftest import ROOT, TINY

from mvtec_xai.tools.inspection import COLUMNS
from mvtec_xai.tools.reproduce import PROFILES, Plan


def test_overrides_are_parameters_that_exist():
    for phase in TINY.keys() | PROFILES["full"].keys():
        Plan(ROOT / "nbs", ROOT, ROOT, overrides=TINY | PROFILES["full"]).parameters(phase)


def test_every_phase_leaves_its_mark(finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert [p["status"] for p in manifest["phases"].values()] == ["done"] * 7
    assert all((finished / phase / "headline.json").is_file() for phase in manifest["phases"])
    localised = (finished / "figures" / "tables" / "localisation.csv").read_text()
    assert "washer" in localised and "lid" not in localised  # measures that need masks pass over what has none


def test_inspect_gives_one_row_an_image_and_an_error_its_own(program, own, finished, tmp_path):
    images = tmp_path / "washer"
    shutil.copytree(own / "washer" / "test", images)
    (images / "good" / "broken.png").write_bytes(b"not an image")
    done = program("inspect", images, "--run", finished, "--out", tmp_path / "out", "--save-maps")
    assert done.returncode == 1, done.stderr
    with open(tmp_path / "out" / "inspections.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert tuple(rows[0]) == COLUMNS
    assert sorted(r["path"] for r in rows) == sorted(map(str, images.rglob("*.png")))
    assert [r["path"].rsplit("/", 1)[1] for r in rows if r["status"] == "error"] == ["broken.png"]
    assert {r["verdict"] for r in rows if r["status"] == "ok"} <= {"normal", "anomalous", "review"}
    unsure = [r for r in rows if r["verdict"] in ("anomalous", "review")]
    maps = list((tmp_path / "out" / "maps").rglob("*.npy"))
    assert len(maps) == len(unsure)
    for path in maps:
        assert np.load(path).dtype == np.float16 and (images / path.relative_to(tmp_path / "out" / "maps")).with_suffix(".png").is_file()
    assert "broken.png" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_inspect_all_readable_is_code_0_and_takes_a_category(program, own, finished, tmp_path):
    shutil.copy(own / "lid" / "test" / "good" / "000.png", tmp_path / "one.png")
    assert program("inspect", tmp_path / "one.png", "--run", finished, "--out", tmp_path / "a", "--category", "lid").returncode == 0
    unknown = program("inspect", tmp_path / "one.png", "--run", finished, "--out", tmp_path / "b")
    assert unknown.returncode == 1  # no folder tells the category: an error row
    assert "--category" in (tmp_path / "b" / "inspections.csv").read_text()
