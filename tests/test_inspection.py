"""`inspect` on files as they lie about, with a stand-in for the networks: a part is anomalous if its picture is light."""

import csv
import json
import os
import random
import signal
import struct
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
from conftest import COLUMNS, stand_in
from PIL import Image
from typer.testing import CliRunner

from mvtec_xai.contrastive import PrototypeClassifier
from mvtec_xai.gradcam import explain_heads
from mvtec_xai.pipeline import Clock, InspectionPipeline, decide, read_ready
from mvtec_xai.stages import Detect, NameType, Stage, Verify
from mvtec_xai.tools import parts, table
from mvtec_xai.tools.cli import app
from mvtec_xai.tools.files import find_images
from mvtec_xai.tools.inspection import inspect_files, remembered_interrupts
from mvtec_xai.tools.outcome import stoppable


class ByBrightness(Stage):
    columns = (*Detect.columns, *Verify.columns, *NameType.columns)

    def __call__(self, tasks):
        for task in tasks:
            found = task.inspection
            found.verdict, found.probability = "normal", float(task.image.mean()) / 255
            found.low, found.high = 0.5, 0.9


def by_brightness():
    return stand_in(ByBrightness(), ["screw"], 32)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "screw").mkdir()
    return tmp_path / "screw"


def rows_of(folder, out) -> dict[str, dict]:
    "The rows of an inspection of `folder`, by file name."
    inspect_files(by_brightness(), find_images([folder]), out)
    with open(out / "inspections.csv", newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert list(rows[0]) == COLUMNS and len(rows) == sum(1 for p in folder.rglob("*") if p.is_file())
    with open(out / "inspections.jsonl", encoding="utf-8") as lines:
        assert [json.loads(line)["path"] for line in lines] == sorted(
            os.fsdecode(p) for p in folder.rglob("*") if p.is_file()
        )
    return {r["path"].rsplit("/", 1)[1]: r for r in rows}


def header_of(width: int, height: int) -> bytes:
    "A PNG that claims to be so large and holds nothing."
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_every_kind_of_picture_is_read_rightly(folder, tmp_path):
    half, size = 128 / 255, (40, 40)
    grey = Image.new("RGB", size, (128, 128, 128))
    palette = Image.new("P", size, 3)
    palette.putpalette([0, 0, 0] * 3 + [128, 128, 128])
    grey.save(folder / "plain.png")
    grey.save(folder / "plain.webp", lossless=True)
    grey.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    grey.save(folder / "really_a_jpeg.jpg", quality=95)
    (folder / "really_a_jpeg.jpg").rename(folder / "really_a_jpeg.png")
    Image.new("RGBA", size, (0, 0, 0, 127)).save(folder / "alpha.png")  # half transparent black, on white
    palette.save(folder / "palette.png")
    Image.fromarray(np.indices(size).sum(axis=0) % 2 == 1).save(folder / "one_bit.png")
    Image.new("RGB", (1, 1), (128, 128, 128)).save(folder / "one_pixel.png")
    for ending in ("png", "tif"):
        Image.fromarray(np.full(size, 128 * 257, np.uint16)).save(folder / f"deep_{ending}.{ending}")
    Image.fromarray(np.full(size, 200, np.uint16)).save(folder / "deep_dark.png")
    Image.fromarray(np.linspace(0, 2**20, 1600).astype(np.int32).reshape(size)).save(folder / "deeper.tif")
    Image.fromarray(np.full(size, 0.5, np.float32)).save(folder / "float.tif")
    for ending in ("png", "gif", "tif"):  # the first frame counts
        grey.save(
            folder / f"moving_{ending}.{ending}",
            save_all=True,
            append_images=[Image.new("RGB", size, "white")],
        )
    rows = rows_of(folder, tmp_path / "out")
    assert {r["status"] for r in rows.values()} == {"ok"}
    expected = dict.fromkeys(rows, half) | {"deep_dark.png": 200 / 255}  # by itself 8 bits hold it
    assert {n: float(r["probability"]) for n, r in rows.items()} == pytest.approx(expected, abs=0.01)


def test_every_broken_file_has_its_error(folder, tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    noise.save(folder / "good.png")
    for ending in ("png", "jpg", "tif", "bmp"):
        noise.save(folder / f"cut.{ending}")
        whole = (folder / f"cut.{ending}").read_bytes()
        (folder / f"cut.{ending}").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("<script>alert(1)</script>")
    (folder / "enormous.png").write_bytes(header_of(60000, 60000))
    (folder / "large.png").write_bytes(header_of(12000, 9000))
    rows = rows_of(folder, tmp_path / "out")
    assert {n for n, r in rows.items() if r["status"] == "ok"} == {"good.png"}
    assert all(str(folder / n) in r["error"] for n, r in rows.items() if n != "good.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "gif", "webp"])
def test_damage_anywhere_costs_no_other_row(folder, tmp_path, ending):
    drawn, picture = (
        random.Random(0),
        Image.fromarray(np.random.default_rng(1).integers(0, 255, (24, 24, 3), dtype=np.uint8)),
    )
    picture.save(folder / f"whole.{ending}")
    whole = (folder / f"whole.{ending}").read_bytes()
    for k in range(25):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[drawn.randrange(min(len(whole), 300))] = drawn.randrange(256)
        (folder / f"{k}.{ending}").write_bytes(damaged)
    assert rows_of(folder, tmp_path / "out")[f"whole.{ending}"]["status"] == "ok"


def test_names_may_hold_anything(folder, tmp_path):
    names = [
        "a,b.png",
        'quo"te.png',
        "line\nbreak.png",
        "<b>.png",
        "50%.png",
        "#1?.png",
        "ñ.png",
        "x" * 240 + ".png",
        "dot.dot.png",
    ]
    for name in names:
        Image.new("L", (8, 8)).save(folder / name)
    os.rename(folder / "<b>.png", os.fsencode(folder) + b"/caf\xe9.png")  # no UTF-8
    (folder / "folder.png").mkdir()
    inspect_files(by_brightness(), find_images([folder]), tmp_path / "out")
    with open(tmp_path / "out" / "inspections.csv", newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert [r["status"] for r in rows] == ["ok"] * len(names)
    assert {r["path"] for r in rows} >= {str(folder / n) for n in names if n != "<b>.png"}
    assert len(list((tmp_path / "out" / "thumbs").iterdir())) == len(names)


def test_new_images_join_those_that_are_done(folder, tmp_path):
    Image.new("L", (8, 8)).save(folder / "b.png")
    (folder / "later").mkdir()
    inspect_files(by_brightness(), find_images([folder / "b.png"]), tmp_path / "out")
    first = (tmp_path / "out" / "thumbs" / "b.jpg").stat().st_mtime_ns
    Image.new("L", (8, 8)).save(folder / "later" / "b.png")
    inspect_files(
        by_brightness(), find_images([folder / "later", folder / "b.png"]), tmp_path / "out", resume=True
    )
    assert sorted(p.name for p in (tmp_path / "out" / "thumbs").iterdir()) == ["b-2.jpg", "b.jpg"]
    assert (tmp_path / "out" / "thumbs" / "b.jpg").stat().st_mtime_ns == first
    with pytest.raises(ValueError, match="--force replaces it"):
        inspect_files(by_brightness(), find_images([folder / "b.png"]), tmp_path / "out")
    inspect_files(by_brightness(), find_images([folder / "b.png"]), tmp_path / "out", force=True)
    assert len((tmp_path / "out" / "inspections.csv").read_text().splitlines()) == 2


def test_ctrl_c_inside_a_destructor_is_not_lost(monkeypatch):
    class Interrupted:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "unraisablehook", lambda about: None)
    with remembered_interrupts() as seen:
        Interrupted()
        assert seen == [signal.SIGINT]  # it came, and the program went on


class CallsAllUnknown(ByBrightness):
    "Everything is of an unknown type, and resembles what is as light."

    def __call__(self, tasks):
        super().__call__(tasks)
        for task in tasks:
            found, angle = task.inspection, 3 * task.inspection.probability
            found.verdict, found.defect_type, found.type_confidence = "anomalous", "unknown", 0.5
            found.embedding = np.array([np.cos(angle), np.sin(angle)], np.float16)
            found.neighbours = [
                {"image_id": f"screw/test/bent/{k}", "defect": "bent", "distance": 1.0} for k in "012"
            ]


def page_data(out) -> dict:
    text = (out / "index.html").read_text(encoding="utf-8")
    return json.loads(text.split('type="application/json">')[1].split("</script>")[0])


def calls_all_unknown(tmp_path):
    "A pipeline that knows the type bent, of a run whose data has an image with a mask, one without, and one that is gone."
    pipeline = stand_in(CallsAllUnknown(), ["screw"], 32)
    pipeline.shared.classifiers["screw"] = PrototypeClassifier(None, ["bent"], None, open_set_threshold=0.5)
    for name in ("0", "0_mask", "1"):
        Image.new("L", (64, 64), 90).save(tmp_path / f"{name}.png")
    rows = [(f"screw/test/bent/{k}", str(tmp_path / f"{k}.png"), None, 1) for k in "012"]
    index = pd.DataFrame(rows, columns=["image_id", "path", "mask_path", "label"])
    index.loc[0, "mask_path"] = str(tmp_path / "0_mask.png")
    (tmp_path / "run" / "00_data").mkdir(parents=True)
    index.to_parquet(tmp_path / "run" / "00_data" / "index.parquet")
    pipeline.source = tmp_path / "run"
    return pipeline


def test_the_page_knows_types_pictures_and_groups(folder, tmp_path):
    for k, grey in enumerate((10, 200, 12, 14, 202)):
        Image.new("L", (8, 8), grey).save(folder / f"{k}.png")
    pipeline, out = calls_all_unknown(tmp_path), tmp_path / "out"
    inspect_files(pipeline, {p: n for p, n in find_images([folder]).items() if n != "3.png"}, out)
    assert not any("group" in row for row in page_data(out)["rows"])  # two and two are no group
    inspect_files(pipeline, find_images([folder]), out, resume=True)  # the others' embeddings are still known
    data = page_data(out)
    groups = {row["name"]: row.get("group") for row in data["rows"]}
    assert groups == {
        "0.png": "screw 1",
        "1.png": None,
        "2.png": "screw 1",
        "3.png": "screw 1",
        "4.png": None,
    }
    assert data["types"] == {"screw": ["bent"]}
    assert data["known"] == {f"screw/test/bent/{k}": f"known/screw/test/bent/{k}.jpg" for k in "01"}
    with_mask, without = (Image.open(out / place).convert("L") for place in data["known"].values())
    assert with_mask.getextrema()[1] > 200 and without.getextrema()[1] < 120  # a white line, and none
    with open(out / "inspections.csv", newline="", encoding="utf-8") as text:
        assert next(csv.reader(text)) == COLUMNS


def test_the_table_as_parquet_is_the_csv(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "PART", 2)
    for name in ("ñ.png", "line\nbreak.png", "a,b.png"):
        Image.new("L", (8, 8), 90).save(folder / name)
    (folder / "broken.png").write_bytes(b"")
    os.rename(folder / "a,b.png", os.fsencode(folder) + b"/caf\xe9.png")  # no UTF-8
    rows = rows_of(folder, out := tmp_path / "out")
    files = sorted((out / "inspections").iterdir())
    told = pd.read_parquet(out / "inspections")
    assert [f.name for f in files] == ["00000.parquet", "00001.parquet"] and list(told) == COLUMNS
    as_text = told.map(lambda value: "" if pd.isna(value) else str(value)).to_dict("records")
    assert as_text == list(rows.values())
    assert told.probability.dtype == told.ms.dtype == float and told.probability.isna().sum() == 1


def test_a_large_gallery_grows_and_is_replaced(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "LIMIT", 2)
    out, packs = tmp_path / "out", tmp_path / "out" / "gallery" / "thumbs"
    for k, number in enumerate((2, 3, 4)):  # one file, parts, one part more
        for name in "abcd"[:number]:
            Image.new("L", (8, 8), 90).save(folder / f"{name}.png")
        inspect_files(by_brightness(), find_images([folder]), out, resume=True)
        assert (out / "thumbs").exists() == (k == 0) and len(list(packs.glob("*.js"))) == k
    data = page_data(out)
    assert data["parts"]["total"] == 4 and "rows" not in data and len(list((out / "gallery").iterdir())) == 2
    inspect_files(by_brightness(), find_images([folder / "a.png"]), out, force=True)
    assert len(page_data(out)["rows"]) == 1 and not (out / "gallery").exists() and (out / "thumbs").exists()


def test_an_inspection_keeps_its_name_as_it_grows_and_a_new_one_has_another(folder, tmp_path):
    out, seen = tmp_path / "out", []
    for number, options in enumerate(({}, {"resume": True}, {"force": True})):
        Image.new("L", (8, 8)).save(folder / f"{number}.png")
        inspect_files(by_brightness(), find_images([folder]), out, **options)
        seen.append(page_data(out)["fingerprint"])
    assert seen[0] == seen[1] != seen[2]


@pytest.fixture
def inspect(folder, tmp_path, monkeypatch):
    "inspect(*options) runs the command on a good file and a broken one, without networks."
    Image.new("L", (8, 8)).save(folder / "good.png")
    (folder / "broken.png").write_bytes(b"")
    monkeypatch.setattr(InspectionPipeline, "from_pretrained", lambda run, device: by_brightness())
    words = ["inspect", str(folder), "--run", str(tmp_path), "--out", str(tmp_path / "out")]
    return lambda *options: CliRunner().invoke(app, [*words, *options])


def test_json_is_all_that_stands_on_standard_output(inspect, tmp_path):
    done = inspect("--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1 and [line["status"] for line in lines] == ["error", "ok"]
    assert done.stdout == (tmp_path / "out" / "inspections.jsonl").read_text()
    assert "2 images, 1 of them not inspected" in done.stderr


def test_quiet_speaks_of_errors_alone(inspect, folder):
    done = inspect("--quiet")
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "broken.png" in done.stderr
    (folder / "broken.png").unlink()
    done = inspect("--quiet", "--force")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_the_language_is_of_the_page_and_of_nothing_else(inspect, tmp_path):
    inspect()
    before = (tmp_path / "out" / "inspections.csv").read_bytes()
    done = inspect("--resume", "--language", "es")
    assert done.exit_code == 1 and "2 images" in done.stdout
    assert page_data(tmp_path / "out")["words"]["title"] == "Inspecciones"
    assert (tmp_path / "out" / "inspections.csv").read_bytes() == before


def test_a_reader_who_goes_away_is_a_stop(tmp_path, monkeypatch, capsys):
    def inspecting():
        raise BrokenPipeError

    with open(tmp_path / "stdout", "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert stoppable(inspecting, tmp_path / "out") is None
    said = capsys.readouterr().err
    assert "nobody reads the output" in said and "--resume" in said


def test_the_map_is_that_of_the_library(finished, own):
    "Grad-CAM by the heads' forward pass, beside pytorch-grad-cam on the same maps: equal up to rounding."
    pipeline = InspectionPipeline.from_pretrained(finished)
    ready = [read_ready(file, "lid", pipeline) for file in sorted((own / "lid" / "test").glob("*/*.png"))]
    explained = [t for t in decide(pipeline, ready, Clock()) if t.inspection.score_map is not None]
    heads = pipeline.shared.detectors["lid"].heads
    for task in explained:
        library = explain_heads(heads, task.maps)[0]
        assert np.abs(task.inspection.score_map - library).max() <= 1e-5 * max(1, library.max())
    assert explained
