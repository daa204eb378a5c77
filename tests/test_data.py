"""The data layer on awkward files and on real images. The notebooks have the ordinary cases."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mvtec_xai.blocks import cache as caching
from mvtec_xai.blocks import photographs
from mvtec_xai.blocks.cache import ImageCache, build_cache
from mvtec_xai.blocks.photographs import read_image
from mvtec_xai.data import assign_folds, index_dataset
from mvtec_xai.tools.check import check_dataset


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in (
        "gear/train/good/0.png",
        "gear/test/good/0.png",
        "gear/test/good/1.png",
        "gear/test/chip/0.png",
        "gear/test/chip/1.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def test_truncated_and_mislabelled_files(folder):
    whole = (folder / "gear/test/good/0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut.png: cannot be read"):
        read_image(folder / "cut.png")
    Image.new("RGB", (5, 4), (9, 9, 9)).save(folder / "really.jpg")
    (folder / "really.jpg").rename(folder / "jpeg.png")
    assert read_image(folder / "jpeg.png").shape == (4, 5, 3)
    (folder / "empty.png").write_bytes(b"")
    with pytest.raises(ValueError, match="empty.png"):
        read_image(folder / "empty.png")


def test_one_pixel_animated_and_enormous(folder, monkeypatch):
    Image.new("L", (1, 1), 7).save(folder / "one.png")
    assert read_image(folder / "one.png").tolist() == [[[7, 7, 7]]]
    frames = [Image.new("RGB", (3, 3), c) for c in ("red", "blue")]
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:])
    assert read_image(folder / "moving.png")[0, 0].tolist() == [255, 0, 0]
    monkeypatch.setattr(photographs, "LARGEST", 8)
    with pytest.raises(ValueError, match="make it smaller"):
        read_image(folder / "moving.png")


def test_turned_by_its_exif_flag(folder):
    picture, exif = Image.new("RGB", (4, 2)), Image.Exif()
    exif[0x0112] = 6  # turn right to see it upright
    picture.save(folder / "turned.jpg", exif=exif)
    assert read_image(folder / "turned.jpg").shape == (4, 2, 3)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_are_read_or_refused(tmp_path, suffix, channels):
    ramp = np.repeat(np.arange(4096, dtype=np.uint16).reshape(64, 64, 1), channels, axis=2)
    ramp[..., 3:] = 65535  # opaque
    file = str(tmp_path / f"ramp.{suffix}")
    cv2.imwrite(file, ramp)
    with pytest.raises(ValueError, match="colours of 14 bits or fewer in 16.* in 8 bits a colour"):
        read_image(file)
    ramp[..., :3] *= 16  # fills its 16 bits
    cv2.imwrite(file, ramp)
    assert np.array_equal(np.unique(read_image(file)), np.arange(256))


def test_only_changed_rows_are_decoded_again(folder, monkeypatch):
    index = index_dataset(folder)
    build_cache(index, folder / "cache", 8)
    Image.new("RGB", (20, 20), "white").save(folder / "gear/test/chip/1.png")
    decoded = []
    original = caching.read_image

    def noted(path, bits):
        decoded.append(str(path))
        return original(path, bits)

    monkeypatch.setattr(caching, "read_image", noted)
    cache = build_cache(index, folder / "cache", 8)
    assert decoded == [str(folder / "gear/test/chip/1.png")]
    row = index.index[index.image_id == "gear/test/chip/1"][0]
    assert cache.images[row].min() == 255


def test_a_stopped_build_leaves_the_old_cache(folder, monkeypatch):
    index = index_dataset(folder)
    first = build_cache(index, folder / "cache", 8)
    Image.new("RGB", (20, 20)).save(folder / "gear/test/chip/1.png")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(caching, "to_square", stop)
    with pytest.raises(KeyboardInterrupt):
        build_cache(index, folder / "cache", 8)
    assert ImageCache(folder / "cache").fingerprint == first.fingerprint
    assert sorted(p.suffix for p in (folder / "cache").iterdir()) == [".json", ".npy", ".npy"]


def test_every_unreadable_file_is_named(folder):
    for name in ("gear/test/chip/0.png", "gear/train/good/0.png"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(ValueError, match="2 unreadable files") as failure:
        build_cache(index_dataset(folder), folder / "cache", 8)
    assert "chip/0.png" in str(failure.value) and "good/0.png" in str(failure.value)


def test_a_file_that_may_not_be_read_is_one_of_the_problems(folder, monkeypatch):
    read = Path.read_bytes

    def refused(path):
        if path.name == "0.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    found = check_dataset(folder)
    assert (found.problem == "unreadable image").sum() == len(list(folder.rglob("0.png"))) > 1


def test_same_picture_under_two_names(folder):
    (folder / "gear/train/good/9.png").write_bytes((folder / "gear/test/chip/0.png").read_bytes())
    assert "same image in train and test" in set(check_dataset(folder).problem)


def test_real_images(real_data):
    index = assign_folds(index_dataset(real_data), 5)
    folders = {
        (c.name, s, d.name): len(list(d.glob("*.jpg")) + list(d.glob("*.png")))
        for c in real_data.iterdir()
        if c.is_dir()
        for s in ("train", "test")
        for d in (c / s).iterdir()
    }
    assert index.groupby(["category", "folder", "defect"]).size().to_dict() == folders
    spread = index[index.fold >= 0].groupby(["category", "defect", "fold"]).size().unstack(fill_value=0)
    assert (spread.max(axis=1) - spread.min(axis=1)).max() <= 2
    problems = check_dataset(real_data)
    assert not problems.problem.str.startswith("unreadable").any()
    assert set(problems[problems.problem == "mask missing"].path.str.split("/").str[0]) <= {"zipper"}
    assert pd.Series(index.image_id).is_unique
