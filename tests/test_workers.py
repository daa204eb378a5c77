"""`inspect --workers` and `--cluster`: the rows of one process, whoever dies meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from unittest import mock
from uuid import uuid4

import fsspec
import psutil
import pytest
from distributed import LocalCluster

from mvtec_xai.pipeline import InspectionPipeline
from mvtec_xai.tools import members
from mvtec_xai.tools.cluster import Cluster
from mvtec_xai.tools.files import find_images, named_images, search_images
from mvtec_xai.tools.inspection import inspect_files, inspect_paths
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


THREADS = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"} - set(os.environ)


@pytest.fixture(autouse=True)
def as_many_threads(monkeypatch):
    "Take back the number of threads that Dask tells whatever this process starts; sums depend on it."
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def cluster():
    "Two processes that wait for work."
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as started:
        yield started


@pytest.fixture(params=["processes", "cluster"])
def engine(request, finished):
    "What has shards done by two processes: engine(work=...)."
    if request.param == "processes":
        return partial(Workers, 2, finished)
    return partial(Cluster, request.getfixturevalue("cluster").scheduler_address, finished)


def end_one(engine, request) -> None:
    "Kill one of the two processes of an engine."
    in_cluster = {nanny.pid for nanny in request.getfixturevalue("cluster").workers.values()}
    children = [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    next(p for p in children if (p.pid in in_cluster) == (engine.func is Cluster)).kill()


def test_two_make_the_rows_of_one(alone, engine, tmp_path):
    pipeline, files, expected = alone
    assert inspect_files(pipeline, files, tmp_path, batch=2, teller=QUIET, through=engine()) == 1
    assert rows(tmp_path) == expected
    assert not (tmp_path / SHARDS).exists() and len(list((tmp_path / "thumbs").rglob("*.jpg"))) == 15


def test_a_worker_that_is_killed_costs_nothing(alone, engine, request, tmp_path):
    pipeline, files, expected = alone
    lines = engine(work=slow)(pipeline, files, tmp_path, batch=2)
    found = [next(lines)]
    end_one(engine, request)
    found += lines
    assert [{k: v for k, v in json.loads(x).items() if k not in TIMES} for x in found] == expected


def test_an_image_that_kills_has_a_row_of_its_own(alone, engine, images, tmp_path):
    pipeline, files, expected = alone
    deaths = {images / "05.png": "deadly.png"}
    files = {path: deaths.get(path, name) for path, name in files.items()}
    through = engine(work=deadly)
    assert inspect_files(pipeline, files, tmp_path, batch=2, teller=QUIET, through=through) == 2
    found = rows(tmp_path)
    assert "was ended" in found[5]["error"] and found[5]["path"].endswith("05.png")
    assert found[:5] + found[6:] == expected[:5] + expected[6:]


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_workers import *
if __name__ == "__main__":
    pipeline, files = InspectionPipeline.from_pretrained({run!r}), find_images([{images!r}])
    through = {kind}({whom!r}, {run!r}, work=slow)
    inspect_files(pipeline, files, {out!r}, batch=2, teller=QUIET, through=through)
"""


def test_the_one_who_hands_out_may_be_killed(alone, engine, finished, images, tmp_path):
    pipeline, files, expected = alone
    script, out = tmp_path / "killed.py", tmp_path / "out"
    about = {
        "tests": str(Path(__file__).parent),
        "run": str(finished),
        "images": str(images),
        "out": str(out),
    }
    script.write_text(KILLED.format(kind=engine.func.__name__, whom=engine.args[0], **about))
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
    assert not (out / SHARDS).exists()


class Idle:
    "In place of a worker: it counts its shards, and answers with a line for each image."

    shards = 0

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
    monkeypatch.setattr(through, "worker", lambda _: nullcontext(Idle()))
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


def test_a_scheduler_that_is_lost_loses_nothing(alone, finished, tmp_path):
    pipeline, files, expected = alone
    script = tmp_path / "cluster.py"
    script.write_text(
        "import time\nfrom distributed import LocalCluster\nif __name__ == '__main__':\n"
        "    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)\n"
        "    print(cluster.scheduler_address, flush=True)\n    time.sleep(600)\n"
    )
    path = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    started = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=os.environ | path
    )
    through = Cluster(started.stdout.readline().strip(), finished, work=slow)
    seen = []

    class Ending(Teller):
        def image(self, line: str) -> None:
            seen.append(line)
            if len(seen) == 3:
                started.kill()

    with pytest.raises(RuntimeError, match="the scheduler was lost; what is finished is kept.*--resume"):
        inspect_files(pipeline, files, tmp_path / "out", batch=2, teller=Ending(quiet=True), through=through)
    assert len(seen) < 16
    assert inspect_files(pipeline, files, tmp_path / "out", batch=2, resume=True, teller=QUIET) == 1
    assert rows(tmp_path / "out") == expected


def test_names_of_images_may_begin_here(alone, finished, cluster, images, tmp_path, monkeypatch):
    monkeypatch.chdir(images.parent)
    pipeline, (_, files, expected) = alone[0], alone
    files = {path.relative_to(images.parent): name for path, name in files.items()}
    through = Cluster(cluster.scheduler_address, finished)
    inspect_files(pipeline, files, tmp_path, batch=2, teller=QUIET, through=through)
    assert [row["path"] for row in rows(tmp_path)] == [str(path) for path in files]
    assert [row["verdict"] for row in rows(tmp_path)[:5]] == [row["verdict"] for row in expected[:5]]


class Apart(Cluster):
    "A cluster whose workers do not see OUT."

    def begin(self, *asked) -> int:
        number = super().begin(*asked)
        self.setting.sign.rename(self.setting.sign.with_suffix(".hidden"))
        return number

    def end(self) -> None:
        self.setting.sign.with_suffix(".hidden").rename(self.setting.sign)
        super().end()


def test_pictures_come_back_from_workers_that_do_not_see_out(alone, finished, cluster, tmp_path):
    pipeline, files, expected = alone
    through, out = Apart(cluster.scheduler_address, finished), tmp_path / "out"
    assert inspect_files(pipeline, files, out, batch=2, teller=QUIET, through=through) == 1
    assert rows(out) == expected
    assert len(list((out / "thumbs").rglob("*.jpg"))) == 15 and not (out / SHARDS).exists()


def test_a_cluster_inspects_to_an_address(finished, cluster, images, tmp_path):
    address = f"memory://{uuid4().hex}"
    assert inspect_paths([images], finished, tmp_path, teller=QUIET) == 1
    options = {"teller": QUIET, "cluster": cluster.scheduler_address}
    assert inspect_paths([images], finished, address, **options) == 1
    names = {path.split("/", 2)[2] for path in fsspec.filesystem("memory").find(address)}
    with fsspec.open(f"{address}/inspections.jsonl", "rt") as lines:
        found = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]
    assert found == rows(tmp_path)
    assert sum(name.startswith("thumbs/") for name in names) == 15
    assert not any(name.startswith(SHARDS) for name in names)


def test_what_a_worker_does_not_see_is_named(alone, finished, cluster, tmp_path):
    pipeline, files, _ = alone
    through = Cluster(cluster.scheduler_address, tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="elsewhere: a worker on .* does not see it; mount it"):
        list(through(pipeline, files, tmp_path / "out"))
    lost = {tmp_path / "gone" / path.name: name for path, name in files.items()}
    with pytest.raises(FileNotFoundError, match="gone: a worker on .* does not see it"):
        list(Cluster(cluster.scheduler_address, finished)(pipeline, lost, tmp_path / "out"))
    assert not list((tmp_path / "out" / SHARDS).iterdir())


def test_a_cluster_that_is_not_there_is_told(program, finished, images, tmp_path):
    words = (
        "inspect",
        images,
        "--run",
        finished,
        "--out",
        tmp_path / "out",
        "--cluster",
        "tcp://127.0.0.1:9",
    )
    done = program(*words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "--cluster tcp://127.0.0.1:9: no scheduler answers there; start one with" in done.stderr
    done = program(*words, "--workers", "2")
    assert done.returncode == 2 and "name one of them" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_cluster_without_workers_is_told(finished, monkeypatch):
    monkeypatch.setattr(members, "PATIENCE", 0)
    empty = LocalCluster(n_workers=0, dashboard_address=None, processes=False, protocol="tcp")
    told = pytest.raises(RuntimeError, match="there are no workers; start some with `dask worker tcp")
    with empty, told:
        Cluster(empty.scheduler_address, finished)
