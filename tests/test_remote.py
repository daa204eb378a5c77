"""`inspect` at addresses: photographs of a store, OUT in a store; the store is a local server that speaks S3."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from test_inspection import by_brightness
from test_workers import rows

from mvtec_xai.blocks import addresses
from mvtec_xai.blocks.addresses import reached
from mvtec_xai.tools import mirror, parts, shards
from mvtec_xai.tools.files import Found, find_images
from mvtec_xai.tools.inspection import inspect_files, judge
from mvtec_xai.tools.listing import coming_images
from mvtec_xai.tools.mirror import place_at
from mvtec_xai.tools.outcome import LINES, Teller

KEY, SECRET = "TESTKEYOFHERE", "secret-of-here"
QUIET = Teller(quiet=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "A local store; its buckets are the folders below the path that is given."
    root = tmp_path_factory.mktemp("store")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    words = [Path(sys.executable).with_name("rclone"), "serve", "s3", "--config", "", "--dir-cache-time", "0"]
    process = subprocess.Popen(
        [*words, "--auth-key", f"{KEY},{SECRET}", "--addr", where, root],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(200):
        try:
            socket.create_connection(where.split(":"), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield root, f"http://{where}"
    process.terminate()
    process.wait()


@pytest.fixture
def store(server, monkeypatch) -> Path:
    "The local store, with all that one needs to be let in."
    root, endpoint = server
    for name in (*addresses.CREDENTIALS, *addresses.ENDPOINTS):
        monkeypatch.delenv(name, raising=False)
    known = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": endpoint}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    addresses._system.cache_clear()
    yield root
    addresses._system.cache_clear()


@pytest.fixture(scope="module")
def photographs(server, own) -> Path:
    "Thirty-six photographs in the bucket `line`, in two folders, one of which is none."
    folder = server[0] / "line" / "day"
    for category in ("lid", "washer"):
        (folder / category).mkdir(parents=True)
        sources = sorted((own / category / "test").glob("*/*.png"))
        for k in range(18):
            (folder / category / f"{k:02} ñ#%.png").write_bytes(sources[k % len(sources)].read_bytes())
    (folder / "lid" / "07 ñ#%.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def alone(program, finished, photographs, tmp_path_factory) -> Path:
    "What an inspection of the same files on this disk makes."
    out = tmp_path_factory.mktemp("alone") / "out"
    done = program("inspect", photographs, "--run", finished, "--out", out, "--save-maps")
    assert done.returncode == 1, done.stderr
    return out


def same(out: Path, alone: Path, here: Path, there: str) -> None:
    "Everything that two inspections made is equal, but for times and for where the images were."
    text = json.dumps(rows(alone)).replace(json.dumps(str(here))[1:-1], there)
    assert rows(out) == json.loads(text)
    for folder in ("thumbs", "maps", "known"):
        files = [p.relative_to(alone) for p in (alone / folder).rglob("*") if p.is_file()]
        assert files and files == [p for p in files if (out / p).read_bytes() == (alone / p).read_bytes()]
        assert len(files) == sum(p.is_file() for p in (out / folder).rglob("*"))
    tables = [
        pd.read_csv(place / "inspections.csv").drop(columns=["ms", "path", "error"]) for place in (out, alone)
    ]
    pd.testing.assert_frame_equal(*tables)
    assert len(pd.read_parquet(out / "inspections")) == len(tables[0])


def test_photographs_of_a_store(program, finished, photographs, store, alone, tmp_path):
    done = program("inspect", "s3://line/day", "--run", finished, "--out", tmp_path / "out", "--save-maps")
    assert done.returncode == 1, done.stderr
    assert "36 images, 1 of them not inspected" in done.stdout and "(notes.txt)" in done.stdout
    assert "s3://line/day/lid/07 ñ#%.png: cannot be read as an image" in done.stdout
    same(tmp_path / "out", alone, photographs, "s3://line/day")


@pytest.mark.parametrize("workers", [1, 2])
def test_out_in_a_store(program, finished, photographs, store, alone, workers, browser):
    out = store / "results" / f"by {workers}"
    out.parent.mkdir(exist_ok=True)
    words = ("inspect", "s3://line/day", "--run", finished, "--out", f"s3://results/by {workers}")
    words += ("--save-maps", "--workers", workers)
    done = program(*words)
    assert done.returncode == 1, done.stderr
    assert f"s3://results/by {workers}/index.html" in done.stdout
    same(out, alone, photographs, "s3://line/day")
    kept = {p.name for p in out.iterdir() if p.is_file() or any(p.rglob("*.*"))}
    assert kept == {p.name for p in alone.iterdir()}
    page = browser.new_page()
    page.goto(out.joinpath("index.html").as_uri())
    page.wait_for_load_state("networkidle")
    shown = "[...document.images].map(i => [i.complete && i.naturalWidth > 0, i.src])"
    assert [src for whole, src in page.evaluate(shown) if not whole and "thumbs" in src] == []
    page.close()
    refused = program(*words)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert f"s3://results/by {workers}: holds an inspection of 36 images; --resume adds" in refused.stderr


def test_one_that_is_killed_is_gone_on_with(program, finished, photographs, store, alone):
    out = store / "results" / "killed"
    words = ("inspect", "s3://line/day", "--run", finished, "--out", "s3://results/killed", "--save-maps")
    command = [Path(sys.executable).with_name("mvtec-xai"), *map(str, words), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(out.glob("shards/*.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (out / LINES).exists()
    refused = program(*words)
    assert refused.returncode == 2 and "stopped after" in refused.stderr and "--resume" in refused.stderr
    before = {p: p.stat().st_mtime_ns for p in (out / "maps").rglob("*.npy")}
    done = program(*words, "--resume")
    assert done.returncode == 1, done.stderr
    assert before and before == {p: p.stat().st_mtime_ns for p in before}, "what was finished was done again"
    same(out, alone, photographs, "s3://line/day")
    assert not list(out.glob("shards/*")) and not (out / f"{LINES}.part").exists()
    again = program(*words[:1], "s3://line/day/washer/0?*.png", *words[2:], "--force")
    assert again.returncode == 0, again.stderr
    assert len(rows(out)) == 10 == len(list((out / "thumbs").rglob("*.jpg")))


@pytest.mark.parametrize(
    "change, words, told",
    [
        ({}, ("s3://nobody/day", "out"), "s3://nobody/day: there is no such bucket"),
        ({}, ("s3://line/night", "out"), "s3://line/night: no such file or folder"),
        ({}, ("{images}", "s3://nobody/out"), "s3://nobody/out: there is no such bucket"),
        (
            {"AWS_ACCESS_KEY_ID": ""},
            ("s3://line/day", "out"),
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ({"AWS_ACCESS_KEY_ID": ""}, ("{images}", "s3://line/out"), "no credentials in the environment"),
        ({"AWS_SECRET_ACCESS_KEY": "x"}, ("s3://line/day", "out"), "the secret key is not the right one"),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            ("s3://line/day", "out"),
            "s3://line/day: nobody answers",
        ),
        ({}, ("s4://line/day", "out"), "s4://: no such kind of address is known"),
        ({}, ("gs://line/day", "out"), "gs://: "),
    ],
)
def test_what_cannot_be_reached_is_told_at_once(program, photographs, store, tmp_path, change, words, told):
    images, out = (word.format(images=photographs) for word in words)
    began = time.monotonic()
    done = program("inspect", images, "--run", tmp_path, "--out", out, env=os.environ | change, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr and "Traceback" not in done.stderr
    assert time.monotonic() - began < 60 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("data", "check", "s3://line/day"),
        ("reproduce", "--data", "s3://line/day"),
        ("learn", "s3://line/day", "--out", "new"),
        ("app", "--run", "s3://line/run"),
        ("inspect", "s3://line/day", "--run=s3://line/run", "--out", "out"),
    ],
)
def test_what_has_to_be_here_is_told(program, words, tmp_path):
    done = program(*words, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"`mvtec-xai {words[0]}` takes a path of this machine here" in done.stderr


@pytest.fixture
def memory(photographs):
    "The photographs in the memory of this process."
    system, _ = reached("memory://line")
    for path in sorted(photographs.rglob("*.png")):
        system.pipe_file(f"/line/day/{path.relative_to(photographs).as_posix()}", path.read_bytes())
    yield system
    system.store.clear()


def inspected(out: str, folder: str = "", **options) -> int:
    "Inspect into an address with a stand-in for the networks."
    again = {name: options.get(name, False) for name in ("resume", "force")}
    with place_at(out, **again, settings={"run": "a"}) as place:
        files = coming_images(Found(), [f"memory://line/day{folder}"])
        how = {"settings": {"run": "a"}, "teller": QUIET, "category": "screw", "through": place.through(None)}
        failed = inspect_files(by_brightness(), files, place.folder, batch=4, **again, **how)
        place.end()
        return failed


def test_another_kind_of_address(memory, photographs, tmp_path):
    assert inspected("memory://out/day") == 1
    inspect_files(by_brightness(), find_images([photographs]), tmp_path, category="screw", teller=QUIET)
    memory.get("/out/day/", str(tmp_path / "fetched") + "/", recursive=True)
    text = json.dumps(rows(tmp_path)).replace(json.dumps(str(photographs))[1:-1], "memory://line/day")
    assert rows(tmp_path / "fetched") == json.loads(text)


def test_work_begins_before_all_is_listed(memory, monkeypatch):
    listed = []
    own = addresses.entries
    monkeypatch.setattr(addresses, "entries", lambda address: listed.append(address) or own(address))
    for k in range(30):
        memory.pipe_file(f"/line/day/{k:02}/1.png", memory.cat_file("/line/day/washer/00 ñ#%.png"))
    files = coming_images(Found(), ["memory://line/day"])
    answers = judge(by_brightness(), files, "screw", batch=2)
    next(answers)
    assert len(listed) < 15
    assert sum(1 for _ in answers) == 30 + 36 - 1 and len(listed) == 33


def test_thumbnails_of_a_large_inspection_are_packed_there_too(memory, monkeypatch):
    monkeypatch.setattr(parts, "LIMIT", 4)
    assert inspected("memory://out/day", "/lid") == 1
    assert memory.find("/out/day/thumbs") == [] and len(memory.find("/out/day/gallery/thumbs")) == 1
    first = memory.find("/out/day/gallery")
    assert inspected("memory://out/day", resume=True) == 1
    assert memory.find("/out/day/thumbs") == [] and len(memory.find("/out/day/gallery/thumbs")) == 2
    assert not set(first) - set(memory.find("/out/day/gallery/thumbs")) & set(memory.find("/out/day/gallery"))
    assert memory.cat_file(f"/out/day/{LINES}").count(b"\n") == 36


def test_an_object_that_goes_away_has_its_row(memory, monkeypatch, tmp_path):
    files = coming_images(Found(), ["memory://line/day/washer"])
    memory.rm("/line/day/washer/03 ñ#%.png")
    assert inspect_files(by_brightness(), files, tmp_path, category="screw", teller=QUIET) == 1
    (error,) = [row["error"] for row in rows(tmp_path) if row["error"]]
    assert error.endswith("03 ñ#%.png: cannot be read (nothing is there); replace or remove it")


def test_a_store_that_is_lost_loses_nothing(memory, monkeypatch):
    sent = mirror.Store.send

    def send(place, names):
        names = list(names)
        if "shards/00000002.jsonl" in names:
            raise ConnectionError(f"{place.address}: nobody answers")
        sent(place, names)

    monkeypatch.setattr(shards, "LONGEST", 4)
    monkeypatch.setattr(mirror.Store, "send", send)
    with pytest.raises(ConnectionError, match="nobody answers"):
        inspected("memory://out/day")
    monkeypatch.undo()
    with pytest.raises(
        ValueError, match=r"memory://out/day: holds an inspection that was stopped after \d+ images"
    ):
        inspected("memory://out/day")
    assert inspected("memory://out/day", resume=True) == 1
    lines = memory.cat_file(f"/out/day/{LINES}").decode().splitlines()
    assert len({json.loads(line)["path"] for line in lines}) == len(lines) == 36
