"""What bites people who bring their own images, by kind; the notebooks have the values of single functions."""

import errno
import json
import os
import shutil
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from conftest import ROOT, TINY
from PIL import Image

from mvtec_xai.blocks.cache import build_cache
from mvtec_xai.blocks.locks import locked
from mvtec_xai.blocks.requirements import require
from mvtec_xai.data import index_dataset
from mvtec_xai.pipeline import InspectionPipeline, category_of
from mvtec_xai.sample.dataset import make_sample
from mvtec_xai.tools import inspection
from mvtec_xai.tools.check import check_dataset
from mvtec_xai.tools.phases import Plan
from mvtec_xai.tools.reproduce import PhaseError, own_kernel, reproduce


@pytest.fixture
def two(tmp_path):
    "A data set of two categories, small but in order."
    return make_sample(tmp_path / "two", train=4, good=4, per_type=3, size=64, categories=["bottle", "screw"])


def first_phase(root, tmp_path):
    run = tmp_path / "run"
    return reproduce(Plan(ROOT / "nbs", run, run / "figures", data=str(root), overrides=TINY), only="00")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda p: [shutil.rmtree(t) for t in (p / "test").iterdir() if t.name != "good"], "too few defects"),
        (lambda p: shutil.rmtree(p / "test/good"), "screw/test/good"),
        (lambda p: shutil.rmtree(p / "train/good"), "screw/train/good"),
        (lambda p: (p / "test/good").rename(p / "test/OK"), "screw/test/OK"),
        (lambda p: (p / "train/good").rename(p / "train/normal"), "screw/train/normal"),
        (lambda p: (p / "test/good").rename(p / "test/good_2"), "screw/test/good_2"),
        (
            lambda p: shutil.copytree(p / "test/thread_side", p / "train/thread_side"),
            "screw/train/thread_side",
        ),
    ],
    ids=["no defects", "no good to judge by", "no good to learn from", "OK", "normal", "good_2", "in train"],
)
def test_what_a_data_set_lacks_is_said_at_once(two, spoil, told):
    spoil(two / "screw")
    problems = check_dataset(two)
    assert any(told in f"{p.path} {p.problem}" for p in problems.itertuples())
    assert not problems.problem.str.contains("mask missing").any()
    with pytest.raises(ValueError, match=told) as refused:
        require(index_dataset(two))
    assert "bottle" not in str(refused.value)  # the one that is in order is not blamed


def test_the_first_phase_asks_what_the_others_need(two, tmp_path):
    (two / "screw/test/good").rename(two / "screw/test/OK")
    with pytest.raises(PhaseError, match="screw/test/OK"):
        first_phase(two, tmp_path)


def test_masks_of_ones_are_masks(two, tmp_path):
    for path in (two / "screw/ground_truth").rglob("*.png"):
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)
        path.rename(path.with_name(path.name.replace("_mask.png", "_Mask.PNG")))
    first_phase(two, tmp_path)
    masks = np.load(next((tmp_path / "run/00_data/cache").glob("masks-*.npy")))
    index = index_dataset(two)
    defective = (index.label == 1).to_numpy()
    assert masks[defective].any(axis=(1, 2)).all() and not masks[~defective].any()
    assert len(check_dataset(two)) == 0


def test_a_turned_mask_is_refused_by_name(two, tmp_path):
    mask = next((two / "screw/ground_truth").rglob("*.png"))
    Image.open(mask).resize((40, 64)).save(mask)
    with pytest.raises(ValueError, match=rf"{mask.name}: the mask is 40 x 64, its image 64 x 64"):
        build_cache(index_dataset(two), tmp_path / "cache", 64)


def test_two_forms_of_an_accent_are_one_name(tmp_path):
    typed = "\u00f1and\u00fa"
    apart = unicodedata.normalize("NFD", typed)
    for place in ("train/good", "test/good", "test/chip"):
        (tmp_path / apart / place).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / apart / place / "0.png")
    assert set(index_dataset(tmp_path, [typed]).category) == {typed}
    assert set(index_dataset(tmp_path, [apart]).category) == {typed}
    assert category_of(tmp_path / apart / "x.png", [typed]) == typed
    assert category_of(None, [apart], typed) == apart


def test_a_camera_of_twelve_bits_keeps_its_levels_and_its_scale(two, tmp_path):
    for path in [*(two / "screw/train").rglob("*.png"), *(two / "screw/test").rglob("*.png")]:
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        Image.fromarray(grey * 16).save(path)  # 12 bits in 16
    first_phase(two, tmp_path)
    config = json.loads((tmp_path / "run/00_data/config.json").read_text())
    assert config["bits"] == {"screw": 12}
    images = np.load(next((tmp_path / "run/00_data/cache").glob("images-*.npy")))
    assert images[(index_dataset(two).category == "screw").to_numpy()].max() > 200


def test_what_is_no_image_is_counted_and_named(finished, own, tmp_path, program):
    belt = tmp_path / "lid"
    belt.mkdir()
    shutil.copy(next((own / "lid/test/good").iterdir()), belt / "part.png")
    (belt / "far").symlink_to(own / "lid/test/good")
    (belt / "notes.txt").write_text("no image")
    (belt / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(belt / "pipe.png")
    (belt / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    done = program("inspect", belt, "--run", finished, "--out", tmp_path / "out", timeout=120)
    assert done.returncode == 1, done.stderr  # phone.heic is a row with an error
    assert "3 files left out" in done.stdout and "pipe.png" in done.stdout and "notes.txt" in done.stdout
    table = (tmp_path / "out/inspections.csv").read_text()
    assert table.count("\n") == 2 + len(list((own / "lid/test/good").iterdir())) + 1
    assert "phone.heic: cannot be read" in table


def test_names_that_meet_on_disk(finished, own, tmp_path, program):
    good = next((own / "lid/test/good").iterdir())
    for name in ("lid/0.png", "lid/0.jpg/1.png", "lid/.hidden/x.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(good, tmp_path / "in" / name)
    for resume in ((), ("--resume",)):
        done = program("inspect", tmp_path / "in", "--run", finished, "--out", tmp_path / "out", *resume)
        assert done.returncode == 0, done.stderr
    pictures = sorted(
        p.relative_to(tmp_path / "out/thumbs").as_posix() for p in (tmp_path / "out").rglob("*.jpg")
    )
    assert pictures == ["lid/0.jpg", "lid/0.jpg_/1.jpg"]


def test_a_second_one_is_told_who_is_at_work(finished, own, tmp_path, program):
    with locked(tmp_path / "out", "inspecting into"):
        for resume in ((), ("--resume",)):
            words = ("inspect", own / "lid/test/good", "--run", finished, "--out", tmp_path / "out")
            second = program(*words, *resume)
            assert second.returncode == 1 and f"process {os.getpid()} on" in second.stderr
            assert "Traceback" not in second.stderr and "--resume" not in second.stderr


def test_a_full_disk_is_a_sentence(finished, own, tmp_path, monkeypatch):
    written = inspection._save_pictures

    def until_full(judged, out, save_maps):
        if judged.name.startswith("003"):
            raise OSError(errno.ENOSPC, "No space left on device", str(out / "thumbs"))
        return written(judged, out, save_maps)

    monkeypatch.setattr(inspection, "_save_pictures", until_full)
    words = [own / "lid/test/good"], finished, tmp_path / "out"
    with pytest.raises(
        RuntimeError, match=r"No space left on device\); 3 images are kept; make room.*--resume"
    ):
        inspection.inspect_paths(*words)
    monkeypatch.setattr(inspection, "_save_pictures", written)
    assert inspection.inspect_paths(*words, resume=True) == 0


def test_phases_run_in_this_python_whatever_jupyter_finds(two, tmp_path, monkeypatch):
    other = tmp_path / "kernels/python3"
    other.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    first_phase(two, tmp_path)
    with own_kernel() as name:
        found = subprocess.run(
            [sys.executable, "-m", "jupyter", "kernelspec", "list", "--json"], capture_output=True
        )
        assert json.loads(found.stdout)["kernelspecs"][name]["spec"]["argv"][0] == sys.executable
    assert os.environ["JUPYTER_PATH"] == str(tmp_path)


def test_a_notebook_started_elsewhere_says_where_it_looked(tmp_path):
    words = [
        sys.executable,
        "-m",
        "papermill",
        ROOT / "nbs/05_atlas.ipynb",
        tmp_path / "out.ipynb",
        "-k",
        "python3",
    ]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and f"looked for from {tmp_path}" in done.stderr and "--cwd nbs" in done.stderr


def test_windows_has_no_module_resource():
    code = "import sys; sys.modules['resource'] = None; from mvtec_xai.tools.reproduce import peak_memory_mb as peak"
    assert subprocess.run([sys.executable, "-c", f"{code}; assert peak() is None"]).returncode == 0


def test_arrays_are_read_or_refused(finished, own):
    pipeline = InspectionPipeline.from_pretrained(finished)
    path = next((own / "lid/test/good").iterdir())
    image = np.asarray(Image.open(path).convert("RGB").resize((64, 64)))
    truth = pipeline.inspect(image, "lid").probability
    for form in (image / 255, Image.fromarray(image), np.dstack([image, np.full((64, 64), 255, np.uint8)])):
        assert pipeline.inspect([form], "lid")[0].probability == pytest.approx(truth, abs=1e-4)
    holed = image.astype(np.float32) / 255
    holed[:3] = np.nan
    for wrong, told in (
        (image.astype(np.uint16), "uint16"),
        (holed, "NaN"),
        (np.zeros((0, 0, 3), np.uint8), "no image"),
    ):
        with pytest.raises(ValueError, match=told):
            pipeline.inspect(wrong, "lid")
    with pytest.raises(ValueError, match="3 images and 1 categories"):
        pipeline.inspect([image] * 3, ["lid"])
