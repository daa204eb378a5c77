"""All phases on a folder of one's own, then `inspect` on what they made: categories nobody declared, one of them without masks."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import COLUMNS, ROOT, SIZES, TINY
from PIL import Image
from pypdf import PdfReader

from mvtec_xai import Inspection, InspectionError, InspectionPipeline
from mvtec_xai.blocks.photographs import read_image
from mvtec_xai.classifier import describe_images, score_maps
from mvtec_xai.gradcam import explain_heads
from mvtec_xai.tools.phases import PROFILES, Plan, lacking_packages, parameters_of

PHASES = sorted((ROOT / "nbs").glob("[0-9][0-9]_*.ipynb"))


def test_overrides_are_parameters_that_exist():
    for overrides in (TINY, PROFILES["full"]):
        for phase in overrides:
            parameters_of(Plan(ROOT / "nbs", ROOT, ROOT, overrides=overrides), phase)


def test_every_phase_leaves_its_mark(finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert [p["status"] for p in manifest["phases"].values()] == ["done"] * (
        12 - bool(lacking_packages("13_semantic"))
    )
    assert all((finished / phase / "headline.json").is_file() for phase in manifest["phases"])
    localised = (finished / "figures" / "tables" / "localisation.csv").read_text()
    assert (
        "washer" in localised and "lid" not in localised
    )  # measures that need masks pass over what has none


def test_every_label_has_a_spanish_word(finished):
    """What the figures left as it was are the data's own names; anything else is a label that the Spanish catalogue lacks."""
    index = pd.read_parquet(finished / "00_data" / "index.parquet")
    names = {*index.category, *index.defect} | {
        part for image_id in index.image_id for part in image_id.split("/")
    }
    drawn = {p.stem for p in (finished / "figures").glob("*.png")}
    left = {
        p.name: Image.open(p).info.get("Untranslated", "").split("\n")
        for p in (finished / "figures").glob("*.png")
    }
    assert {name: missing for name, words in left.items() if (missing := set(words) - names - {""})} == {}
    assert any(left["detection_curves.png"]), "a figure that shows categories names them"
    saved = {
        n
        for p in PHASES
        for n in re.findall(
            r'save_figure\([^"\n]*figures, "(\w+)"', p.read_text(encoding="utf-8").replace("\\", "")
        )
    }
    assert saved <= drawn, "a figure that this run does not draw is not looked at"


def test_the_report_of_a_run_says_what_it_is_of(program, finished, own):
    done = program("report", "--run", finished)
    assert done.returncode == 0, done.stderr
    text = " ".join(
        " ".join(page.extract_text() for page in PdfReader(finished / "memoria.pdf").pages).split()
    )
    manifest = json.loads((finished / "manifest.json").read_text())
    assert f"imágenes reales de {own.name}" in text and manifest["versions"]["torch"] in text
    assert "washer" in text and "están en inglés" not in text


def test_inspect_gives_one_row_an_image_and_an_error_its_own(program, own, finished, tmp_path):
    images = tmp_path / "washer"
    shutil.copytree(own / "washer" / "test", images)
    (images / "good" / "broken.png").write_bytes(b"not an image")
    done = program("inspect", images, "--run", finished, "--out", tmp_path / "out", "--save-maps")
    assert done.returncode == 1, done.stderr
    with open(tmp_path / "out" / "inspections.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == [*COLUMNS, *SIZES]
    assert sorted(r["path"] for r in rows) == sorted(map(str, images.rglob("*.png")))
    assert [r["path"].rsplit("/", 1)[1] for r in rows if r["status"] == "error"] == ["broken.png"]
    assert {r["verdict"] for r in rows if r["status"] == "ok"} <= {"normal", "anomalous", "review"}
    unsure = [r for r in rows if r["verdict"] in ("anomalous", "review")]
    maps = list((tmp_path / "out" / "maps").rglob("*.npy"))
    assert len(maps) == len(unsure)
    for path in maps:
        assert (
            np.load(path).dtype == np.float16
            and (images / path.relative_to(tmp_path / "out" / "maps")).with_suffix(".png").is_file()
        )
    assert "broken.png" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_inspect_all_readable_is_code_0_and_takes_a_category(program, own, finished, tmp_path):
    shutil.copy(own / "lid" / "test" / "good" / "000.png", tmp_path / "one.png")
    assert (
        program(
            "inspect", tmp_path / "one.png", "--run", finished, "--out", tmp_path / "a", "--category", "lid"
        ).returncode
        == 0
    )
    untold = program("inspect", tmp_path / "one.png", "--run", finished, "--out", tmp_path / "b")
    assert untold.returncode == 0  # no folder tells the category: the image does
    with open(tmp_path / "b" / "inspections.csv", newline="") as table:
        assert [(r["category"], r["category_source"]) for r in csv.DictReader(table)] == [("lid", "model")]
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("10_category"))
    unknown = program("inspect", tmp_path / "one.png", "--run", tmp_path / "run", "--out", tmp_path / "c")
    assert unknown.returncode == 1  # nobody does: an error row
    assert "--category" in (tmp_path / "c" / "inspections.csv").read_text()


def test_alone_or_in_a_batch_the_answer_is_the_same(own, finished):
    pipeline, paths = InspectionPipeline.from_pretrained(finished), sorted(own.glob("*/test/*/*.png"))[::3]
    together = pipeline.inspect(paths, batch=5)
    for path, known in zip(paths, together, strict=True):
        alone = pipeline.inspect([path])[0]
        assert (alone.path, alone.verdict, alone.defect_type) == (
            known.path,
            known.verdict,
            known.defect_type,
        )
        assert alone.probability == pytest.approx(known.probability, abs=1e-4)
        if known.anomaly_map is not None:
            np.testing.assert_allclose(alone.anomaly_map, known.anomaly_map, atol=1e-3)


def test_an_image_is_taken_in_every_form(own, finished):
    pipeline, paths = (
        InspectionPipeline.from_pretrained(finished, device="cpu"),
        sorted(own.glob("*/test/*/*.png"))[:2],
    )
    known, pixels = pipeline.inspect(paths), [read_image(p) for p in paths]
    categories = [i.category for i in known]
    tensors = [torch.from_numpy(p).permute(2, 0, 1) for p in pixels]
    several = {
        "strings": [str(p) for p in paths],
        "pictures": [Image.open(p) for p in paths],
        "arrays": pixels,
        "floats": [p / 255 for p in pixels],
        "tensors": torch.stack(tensors) if tensors[0].shape == tensors[1].shape else tensors,
        "column": pd.Series(paths, index=[7, 9]),
    }
    for name, images in several.items():
        found = pipeline.inspect(images, category=pd.Series(categories))
        assert [i.probability for i in found] == pytest.approx([i.probability for i in known], abs=1e-4), name
    reversed_channels = pipeline.inspect(pixels[0][..., ::-1], categories[0], bgr=True)
    assert reversed_channels.probability == pytest.approx(known[0].probability, abs=1e-4)
    for one in (str(paths[0]), paths[0], Image.open(paths[0]), pixels[0], tensors[0]):
        inspection = pipeline.inspect(one, category=categories[0])
        assert isinstance(inspection, Inspection) and inspection.plot() is not None
    for wrong, says in (
        ((paths, ["lid"]), "2 images and 1 categories"),
        ((None, "lid"), "no image"),
        ((3.5, "lid"), "no image"),
    ):
        with pytest.raises(ValueError, match=says):
            pipeline.inspect(*wrong)
    endless = (path for path in [paths[0], "missing.png", paths[1]])
    first, error, last = pipeline.inspect_iter(endless, [categories[0], categories[0], categories[1]])
    assert (first.verdict, last.verdict) == (known[0].verdict, known[1].verdict) and isinstance(
        error, InspectionError
    )
    with pytest.warns(DeprecationWarning, match="from_pretrained"):
        InspectionPipeline.from_run(finished)


def test_a_buffer_that_is_used_again_and_batches_of_any_size_change_no_answer(own, finished):
    pipeline, paths = InspectionPipeline.from_pretrained(finished), sorted(own.glob("washer/test/*/*.png"))
    pixels, on_gpu = [read_image(path) for path in paths], torch.cuda.is_available()
    alone = [pipeline.inspect(one, "washer", batch=1).probability for one in pixels]

    def frames():
        buffer = np.empty_like(pixels[0])
        for one in pixels:
            buffer[:] = one
            yield buffer

    for batch in (1, 4, 16):
        found = list(pipeline.inspect_iter(frames(), "washer", batch))
        assert [i.probability for i in found] == (pytest.approx(alone) if on_gpu else alone)
        assert all(np.array_equal(i.pixels, one) for i, one in zip(found, pixels, strict=True))
    with pytest.raises(ValueError, match="at least one image"):
        pipeline.inspect(pixels, "washer", batch=0)
    with pytest.raises(ValueError, match="more images than categories"):
        list(pipeline.inspect_iter(iter(pixels[:3]), ["washer"] * 2))


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_heads_may_be_used_while_they_are_explained(own, finished, method):
    pipeline = InspectionPipeline.from_pretrained(finished)
    detector, paths = pipeline.shared.detectors["washer"], sorted(own.glob("washer/test/*/*.png"))
    maps, others = (describe_images(detector, pipeline.read(path)[None]) for path in paths[:2])
    alone, done = explain_heads(detector.heads, maps, method), Event()

    def use() -> None:
        while not done.is_set():
            score_maps(detector.heads, others)

    with ThreadPoolExecutor(1) as pool:
        using = pool.submit(use)
        found = [explain_heads(detector.heads, maps, method) for _ in range(20)]
        done.set()
    assert using.exception() is None
    assert all(np.array_equal(one, alone) for one in found)


def test_saved_pipeline_needs_neither_run_nor_place(own, finished, tmp_path):
    paths, run = sorted(own.glob("*/test/*/*.png"))[::3], tmp_path / "run"
    shutil.copytree(finished, run)
    pipeline = InspectionPipeline.from_pretrained(run)
    before = [{**i.to_dict(), "timings": {}} for i in pipeline.inspect(paths)]
    saved = pipeline.save_pretrained(tmp_path / "saved").rename(tmp_path / "moved")
    shutil.rmtree(run)
    assert [
        {**i.to_dict(), "timings": {}} for i in InspectionPipeline.from_pretrained(saved).inspect(paths)
    ] == before
    again = InspectionPipeline.from_pretrained(saved).save_pretrained(
        tmp_path / "again"
    )  # a saved one can be saved
    files = {p.relative_to(saved): p.read_bytes() for p in saved.rglob("*") if p.is_file()}
    assert files == {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()}
    assert {p.suffix for p in files} - {".parquet"} == {".json", ".safetensors"} and not [
        p for p in files if p.name.startswith("fold")
    ]
    assert not [
        name
        for name, held in files.items()
        if name.suffix == ".json" and (str(run).encode() in held or str(own).encode() in held)
    ]
    (saved / "01_classifier" / "extractor.safetensors").unlink()
    with pytest.raises(ValueError, match="extractor.safetensors"):
        InspectionPipeline.from_pretrained(saved)
    with pytest.raises(ValueError, match="has changed"):
        pipeline.save_pretrained(tmp_path / "late")
    assert not (tmp_path / "late").exists()
    with pytest.raises(FileNotFoundError, match="pipeline.json"):
        InspectionPipeline.from_pretrained(own)


def stop_in_the_middle(words, part, least: int, how: signal.Signals) -> int:
    "Start the program, send it `how` once `part` has `least` lines; its exit code."
    process = subprocess.Popen(
        [Path(sys.executable).with_name("mvtec-xai"), *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 300
    while time.time() < deadline and process.poll() is None:
        if part.is_file() and part.read_bytes().count(b"\n") >= least:
            process.send_signal(how)
            break
        time.sleep(0.01)
    return process.wait(timeout=60)


def test_stopped_and_killed_it_keeps_what_is_finished_and_goes_on(program, own, finished, tmp_path):
    images, out = tmp_path / "washer", tmp_path / "out"
    images.mkdir()
    some = sorted((own / "washer" / "test").glob("*/*.png"))
    for k in range(600):
        os.link(some[k % len(some)], images / f"{k:04}.png")
    words, part = ("inspect", images, "--run", finished, "--out", out), out / "inspections.jsonl.part"
    assert stop_in_the_middle(words, part, 5, signal.SIGINT) == 130
    kept = part.read_text().splitlines()
    with open(out / "inspections.csv", newline="") as table:
        assert [r["path"] for r in csv.DictReader(table)] == [json.loads(line)["path"] for line in kept]
    assert (out / "index.html").is_file()

    refused = program(*words)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    other = program(*words, "--resume", "--category", "lid")
    assert other.returncode == 2 and "category lid" in other.stderr

    assert stop_in_the_middle((*words, "--resume"), part, len(kept) + 5, signal.SIGKILL) == -signal.SIGKILL
    more = part.read_text().split("\n")[:-1]  # what comes after the last end of line is torn
    assert more[: len(kept)] == kept and len(kept) + 5 <= len(more) < 600

    done = program(*words, "--resume")
    assert done.returncode == 0, done.stderr
    lines = (out / "inspections.jsonl").read_text().splitlines()
    assert lines[: len(more)] == more  # to the millisecond: none was done twice
    with open(out / "inspections.csv", newline="") as table:
        assert [r["path"] for r in csv.DictReader(table)] == sorted(map(str, images.iterdir()))
    assert len(list((out / "thumbs").iterdir())) == 600 and not part.exists()


def test_exported_detector_gives_the_same_probabilities(program, own, finished, tmp_path):
    pytest.importorskip("onnxruntime")
    from mvtec_xai.pipeline import Clock, Ready, decide
    from mvtec_xai.tools.export import TOLERANCE, run_onnx

    done = program(
        "export",
        "--run",
        finished,
        "--category",
        "washer",
        "--out",
        tmp_path / "washer.onnx",
        "--images",
        own / "washer",
    )
    assert done.returncode == 0 and "largest difference" in done.stdout, done.stderr
    pipeline = InspectionPipeline.from_pretrained(finished)
    images = np.stack([pipeline.read(p) for p in sorted((own / "washer" / "test").glob("*/*.png"))])
    tasks = decide(pipeline, [Ready(None, "washer", i, i) for i in images], Clock())
    expected = [t.inspection.detector_probability for t in tasks]
    probability, patch_map = run_onnx(tmp_path / "washer.onnx", images)
    assert np.ptp(expected) > 0.01 and len(patch_map) == len(images)
    assert np.abs(probability - expected).max() <= TOLERANCE
