"""`inspect --workers`: the rows of one process, whoever dies meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from itertools import islice
from pathlib import Path
from unittest import mock

import psutil
import pytest

from mvtec_xai.pipeline import InspectionPipeline
from mvtec_xai.tools.files import find_images, named_images, search_images
from mvtec_xai.tools.inspection import inspect_files
from mvtec_xai.tools.outcome import LINES, Teller, read_lines
from mvtec_xai.tools.shards import SHARDS
from mvtec_xai.tools.workers import AHEAD, Workers, inspect_shard

TIMES = ("ms", "timings")
QUIET = Teller(quiet=True)


def deadly(files, *how):
    "A worker that an image kills, as a fault in a library would."
    if any("deadly" in name for name in files.values()):
        os.kill(os.getpid(), signal.SIGKILL)
    return inspect_shard(files, *how)


def slow(files, *how):
    "A worker that takes its time."
    time.sleep(0.5)
    return inspect_shard(files, *how)


def rows(out: Path) -> list[dict]:
    "The lines of an inspection, without what takes another time each time."
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_lines(out / LINES)]


@pytest.fixture(scope="module")
def images(own, tmp_path_factory) -> Path:
    "Sixteen pictures, one of which cannot be read."
    folder = tmp_path_factory.mktemp("images") / "lid"
    folder.mkdir()
    sources = sorted((own / "lid" / "test").glob("*/*.png"))
    for k in range(16):
        (folder / f"{k:02}.png").symlink_to(sources[k % len(sources)])
    (folder / "07.png").unlink()
    (folder / "07.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def alone(finished, images, tmp_path_factory):
    "Pipeline, files, and what one process makes of them."
    pipeline, files = InspectionPipeline.from_pretrained(finished), find_images([images])
    out = tmp_path_factory.mktemp("alone")
    assert inspect_files(pipeline, files, out, batch=2, teller=QUIET) == 1
    return pipeline, files, rows(out)


def test_two_make_the_rows_of_one(alone, finished, tmp_path):
    pipeline, files, expected = alone
    through = Workers(2, finished)
    assert inspect_files(pipeline, files, tmp_path, batch=2, teller=QUIET, through=through) == 1
    assert rows(tmp_path) == expected
    assert not (tmp_path / SHARDS).exists() and len(list((tmp_path / "thumbs").rglob("*.jpg"))) == 15


def test_a_worker_that_is_killed_costs_nothing(alone, finished, tmp_path):
    pipeline, files, expected = alone
    through = Workers(2, finished, work=slow)
    lines = through(pipeline, files, tmp_path, batch=2)
    found = [next(lines)]
    killed = [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    killed[0].kill()
    found += lines
    assert [{k: v for k, v in json.loads(x).items() if k not in TIMES} for x in found] == expected


def test_an_image_that_kills_has_a_row_of_its_own(alone, finished, images, tmp_path):
    pipeline, files, expected = alone
    deaths = {images / "05.png": "deadly.png"}
    files = {path: deaths.get(path, name) for path, name in files.items()}
    through = Workers(2, finished, work=deadly)
    assert inspect_files(pipeline, files, tmp_path, batch=2, teller=QUIET, through=through) == 2
    found = rows(tmp_path)
    assert "was ended" in found[5]["error"] and found[5]["path"].endswith("05.png")
    assert found[:5] + found[6:] == expected[:5] + expected[6:]


def test_the_one_who_hands_out_may_be_killed(alone, finished, images, tmp_path):
    pipeline, files, expected = alone
    code = (
        "import sys; sys.path.insert(0, {!r})\n"
        "from test_workers import *\n"
        "if __name__ == '__main__':\n"
        "    pipeline = InspectionPipeline.from_pretrained({!r})\n"
        "    files = find_images([{!r}])\n"
        "    through = Workers(2, {!r}, work=slow)\n"
        "    inspect_files(pipeline, files, {!r}, batch=2, teller=QUIET, through=through)\n"
    )
    script, out = tmp_path / "killed.py", tmp_path / "out"
    told = str(Path(__file__).parent), str(finished), str(images), str(finished), str(out)
    script.write_text(code.format(*told))
    process = subprocess.Popen([sys.executable, script])
    part = out / f"{LINES}.part"
    while not (part.is_file() and part.read_text().count("\n") >= 3):
        assert process.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert psutil.wait_procs(workers, timeout=20)[1] == []  # they end as well
    assert inspect_files(pipeline, files, out, batch=2, resume=True, teller=QUIET) == 1
    found = rows(out)
    assert sorted(found, key=lambda row: row["path"]) == expected


class Idle:
    "In place of a worker: it counts its shards, and answers with a line for each image."

    process, shards = mock.Mock(), 0

    def do(self, files, *_) -> list[str]:
        Idle.shards += 1
        return [json.dumps({"path": str(path), "name": name}) for path, name in files.items()]


def test_many_paths_take_little_memory_and_are_handed_out_as_they_are_needed(tmp_path, monkeypatch):
    number = 20_000
    names = [[f"part_{k:07}.png" for k in range(start, start + 200)] for start in range(0, number, 200)]
    made_up = [(f"{tmp_path}/line/{k:05}", [], some) for k, some in enumerate(names)]
    tracemalloc.start()
    with (
        mock.patch("os.walk", lambda *_, **__: iter(made_up)),
        mock.patch("os.path.isfile", lambda _: True),
    ):
        files = named_images(search_images([tmp_path]), [tmp_path])
    listed = tracemalloc.get_traced_memory()[1]
    through = Workers(2, "no run")
    monkeypatch.setattr(through, "worker", lambda _: Idle())
    lines = through(None, files, tmp_path, batch=16)
    first = [json.loads(line) for line in islice(lines, 100)]
    assert Idle.shards <= 2 * AHEAD + 2  # of 313
    rest = sum(1 for _ in lines)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [line["name"] for line in first] == [f"line/{k // 200:05}/part_{k:07}.png" for k in range(100)]
    assert len(first) + rest == number == len(files)
    assert (
        listed < 500 * number and most < 800 * number
    )  # bytes; a path and its name have about 150 characters
