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
import pytest
from conftest import COLUMNS, stand_in
from PIL import Image

from mvtec_xai.stages import Detect, NameType, Stage, Verify
from mvtec_xai.tools.files import find_images
from mvtec_xai.tools.inspection import inspect_files, remembered_interrupts


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
    with open(out / "inspections.csv", newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
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
    with open(tmp_path / "out" / "inspections.csv", newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
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
