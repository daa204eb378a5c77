"""`inspect` at addresses: photographs of a store, OUT in a store; the store is a local server that speaks S3."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlparse

import obstore
import pandas as pd
import pytest
from test_inspection import by_brightness
from test_workers import as_many_threads, rows  # noqa: F401

from mvtec_xai.blocks import addresses
from mvtec_xai.blocks.addresses import reached
from mvtec_xai.tools import mirror, parts, shards
from mvtec_xai.tools.files import Found, find_images
from mvtec_xai.tools.inspection import _images, inspect_files, inspect_paths, judge
from mvtec_xai.tools.listing import coming_images
from mvtec_xai.tools.mirror import place_at
from mvtec_xai.tools.outcome import LINES, Teller

KEY, SECRET = "TESTKEYOFHERE", "secret-of-here"
QUIET = Teller(quiet=True)
HEAP = sorted([f"{k:04}.png" for k in range(2500)] + ["7/8.png"])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "A local store; its buckets are the folders below the path that is given."
    root = tmp_path_factory.mktemp("store")
    for bucket in ("line", "results"):
        (root / bucket).mkdir()
    (root / "heap" / "7").mkdir(parents=True)
    for name in HEAP:  # before it serves: it remembers what it has listed
        (root / "heap" / name).touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    words = [Path(sys.executable).with_name("rclone"), "serve", "s3", "--config", ""]
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
def alone(finished, photographs, tmp_path_factory) -> Path:
    "What an inspection of the same files on this disk makes."
    out = tmp_path_factory.mktemp("alone") / "out"
    assert inspect_paths([photographs], finished, out, save_maps=True, teller=QUIET) == 1
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


def test_photographs_of_a_store(finished, photographs, store, alone, tmp_path, capsys):
    assert inspect_paths(["s3://line/day"], finished, tmp_path / "out", save_maps=True) == 1
    said = capsys.readouterr().out
    assert "36 images, 1 of them not inspected" in said and "(notes.txt)" in said
    assert "s3://line/day/lid/07 ñ#%.png: cannot be read as an image" in said
    same(tmp_path / "out", alone, photographs, "s3://line/day")


@pytest.mark.parametrize("workers", [1, 2])
def test_out_in_a_store(finished, photographs, store, alone, workers, browser, capsys):
    address, out = f"s3://results/by {workers}", store / "results" / f"by {workers}"
    given = ["s3://line/day"], finished, address
    assert inspect_paths(*given, save_maps=True, workers=workers) == 1
    assert f"{address}/inspections.csv, {address}/index.html" in capsys.readouterr().out
    same(out, alone, photographs, "s3://line/day")
    kept = {p.name for p in out.iterdir() if p.is_file() or any(p.rglob("*.*"))}
    assert kept == {p.name for p in alone.iterdir()}
    page = browser.new_page()
    page.goto(out.joinpath("index.html").as_uri())
    page.wait_for_load_state("networkidle")
    shown = "[...document.images].map(i => [i.src, i.naturalWidth])"  # those out of sight have no width yet
    pictures = {src: width for src, width in page.evaluate(shown) if "/thumbs/" in src}
    assert len(pictures) == 35 and any(pictures.values())
    assert all(Path(unquote(urlparse(src).path)).is_file() for src in pictures)
    page.close()
    with pytest.raises(ValueError, match=f"^{address}: holds an inspection of 36 images; --resume adds"):
        inspect_paths(*given, save_maps=True)


def test_one_that_is_killed_is_gone_on_with(finished, photographs, store, alone):
    out, given = store / "results" / "killed", (["s3://line/day"], finished, "s3://results/killed")
    words = ("inspect", *given[0], "--run", finished, "--out", given[2], "--save-maps", "--workers", "2")
    command = [Path(sys.executable).with_name("mvtec-xai"), *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(out.glob("shards/*.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (out / LINES).exists()
    with pytest.raises(ValueError, match="^s3://results/killed: holds an inspection that was stopped after"):
        inspect_paths(*given, save_maps=True)
    with pytest.raises(ValueError, match="^s3://results/killed: was begun with .*save_maps True.*, not with"):
        inspect_paths(*given, resume=True)
    done = [json.loads(line)["name"] for f in out.glob("shards/*.jsonl") for line in f.open(encoding="utf-8")]
    before = {
        p: p.stat().st_mtime_ns
        for n in done
        for p in [(out / "thumbs" / n).with_suffix(".jpg")]
        if p.exists()
    }
    assert inspect_paths(*given, save_maps=True, resume=True, teller=QUIET) == 1
    assert before and before == {p: p.stat().st_mtime_ns for p in before}, "what was finished was done again"
    same(out, alone, photographs, "s3://line/day")
    assert not list(out.glob("shards/*")) and not (out / f"{LINES}.part").exists()
    assert inspect_paths(["s3://line/day/washer/0?*.png"], *given[1:], force=True, teller=QUIET) == 0
    assert len(rows(out)) == 10 == len(list((out / "thumbs").rglob("*.jpg")))
    assert not list(out.rglob("*.npy"))


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
def test_what_cannot_be_reached_is_told_at_once(
    photographs, store, tmp_path, monkeypatch, change, words, told
):
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    images, out = (word.format(images=photographs) for word in words)
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    with pytest.raises((ValueError, FileNotFoundError, ConnectionError, ModuleNotFoundError)) as caught:
        inspect_paths([images], tmp_path / "no run", out)  # which is found out later
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert time.monotonic() - began < 20 and not (tmp_path / "out").exists()


def test_it_is_told_in_one_line(program, store, tmp_path):
    done = program("inspect", "s3://nobody/day", "--run", tmp_path, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == "mvtec-xai: s3://nobody/day: there is no such bucket\n"


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


def test_what_an_inspection_has_sent_is_not_inspected(memory):
    for name in ("thumbs/screw/1.jpg", "masks/screw/1.png"):
        memory.pipe_file(f"/line/day/results/{name}", b"")
    images, _ = _images(["memory://line/day"], "memory://line/day/results")
    assert len(dict(images.items())) == len([p for p in memory.find("/line/day") if "/results/" not in p])


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


def test_a_store_is_asked_for_many_at_the_same_time(memory, monkeypatch):
    asked, most, own = [], [], memory.cat_file

    def wait(place):
        asked.append(place)
        most.append(len(asked))
        time.sleep(0.05)
        asked.remove(place)
        return own(place)

    monkeypatch.setattr(memory, "cat_file", wait)
    files = coming_images(Found(), ["memory://line/day/washer"])
    assert len(list(judge(by_brightness(), files, "screw", batch=8))) == 18 == len(most) and max(most) > 8


def test_an_object_that_goes_away_has_its_row(memory, monkeypatch, tmp_path):
    files = coming_images(Found(), ["memory://line/day/washer"])
    memory.rm("/line/day/washer/03 ñ#%.png")
    assert inspect_files(by_brightness(), files, tmp_path, category="screw", teller=QUIET) == 1
    (error,) = [row["error"] for row in rows(tmp_path) if row["error"]]
    assert error.endswith("03 ñ#%.png: cannot be read (nothing is there); replace or remove it")


def test_a_store_that_is_lost_loses_nothing(memory, monkeypatch):
    sent = mirror.send

    def send(remote, names):
        names = list(names)
        if "shards/00000002.jsonl" in names:
            raise ConnectionError(f"{remote.address}: nobody answers")
        sent(remote, names)

    monkeypatch.setattr(shards, "LONGEST", 4)
    monkeypatch.setattr(mirror, "send", send)
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


def test_a_heap_of_objects_goes_to_work_as_it_is_listed(store, monkeypatch):
    given, listed = [], obstore.list

    def counted(*asked, **how):
        for part in listed(*asked, **how):
            given.append(len(part))
            yield part

    monkeypatch.setattr(obstore, "list", counted)
    images = iter(coming_images(Found(), ["s3://heap"]).items())
    assert next(images) == ("s3://heap/0000.png", "0000.png") and given == [1000]
    assert [name for _, name in images] == HEAP[1:] and sum(given) == len(HEAP)


def test_an_object_that_marks_a_folder_is_no_image(store, monkeypatch):
    keys = ["day", "day/lid", "day/lid/1.png", "day/none.png", "day/z.txt"]
    monkeypatch.setattr(obstore, "list", lambda *_, **__: [[{"path": key} for key in keys]])
    assert list(addresses.below("s3://line/day")) == [f"s3://line/{key}" for key in keys[2:]]
