"""How long a gallery takes to open, and to answer a filter, as one file and in parts (`tools.parts`).

The cards of a finished inspection are repeated, each under a name of its own with a picture of its own, up to the numbers that are
asked for. The page is written both ways, and each is opened from disk in Chromium by turns: every page is new, and reads from a disk
whose files the system has in memory. large_gallery.csv has, for each number and each way, the median of the rounds in seconds: from
the call until the picture of the first card is drawn, and from a click or a word typed until all cards that fit are counted and the
first of them stand there; what processors worked until the first card, all of Chromium's processes together; the same in ratio to
one file; files and megabytes on disk. On a busy machine compare ratios, and processor's time, not seconds.

    .venv/bin/python benchmarks/large_gallery.py --inspection inspected --out runs/full/reference
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from itertools import cycle
from pathlib import Path, PurePosixPath

import pandas as pd
import psutil
from playwright.sync_api import Browser, sync_playwright

from mvtec_xai.tools import parts
from mvtec_xai.tools.outcome import read_lines
from mvtec_xai.tools.parts import Cards, add_cards, write_gallery

WAYS = {"one file": 10**9, "in parts": parts.LIMIT - 1}  # up to how many images one file is written
DRAWN = """() => new Promise(done => {
  const look = () => {
    const picture = document.querySelector('article > img');
    if (picture && picture.complete && picture.naturalWidth) requestAnimationFrame(() => done(performance.now() / 1000));
    else setTimeout(look, 5);
  };
  look();
})"""
ANSWERED = """([id, event, value]) => new Promise(done => {
  const start = performance.now(), asked = document.querySelector(id);
  if (event === 'click') asked.click();
  else { asked.value = value; asked.dispatchEvent(new Event(event)) }
  requestAnimationFrame(() => setTimeout(() => done((performance.now() - start) / 1000)));
})"""
ASKED = {
    "verdict_filter_s": ("button[data-verdict=anomalous]", "click", ""),
    "name_filter_s": ("#name", "input", "77"),
    "order_by_name_s": ("#sort", "change", "name"),
}


def repeated(inspection: Path, out: Path, number: int) -> None:
    "Fill OUT with `number` lines and thumbnails, those of an inspection again and again."
    lines = list(read_lines(inspection / "inspections.jsonl"))
    with open(out / "lines", "w", encoding="utf-8") as text:
        for k, line in zip(range(number), cycle(lines)):
            name = PurePosixPath(line["name"]).with_stem(f"{k:06}").as_posix()
            text.write(json.dumps(line | {"name": name, "path": f"/day/{name}"}) + "\n")
            if line["status"] == "ok":
                place = (out / "thumbs" / name).with_suffix(".jpg")
                place.parent.mkdir(parents=True, exist_ok=True)
                os.link((inspection / "thumbs" / line["name"]).with_suffix(".jpg"), place)


def written(inspection: Path, out: Path, number: int, way: str) -> dict:
    "Write a gallery one way; what that took, and what lies on the disk."
    repeated(inspection, out, number)
    cards, parts.LIMIT, start = Cards(out / "lines"), WAYS[way], time.process_time()
    for _ in add_cards(cards):
        pass
    write_gallery(cards, out)
    spent = time.process_time() - start
    files = [p for p in out.rglob("*") if p.is_file() and p.name != "lines"]
    page = (out / "index.html").stat().st_size / 1e6
    size = sum(p.stat().st_size for p in files) / 1e6
    return {"write_processor_s": spent, "files": len(files), "index_html_mb": page, "all_files_mb": size}


def processor() -> float:
    "Seconds that the processes started from here have worked, so far."
    spent = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            spent += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return spent


def opened(browser: Browser, file: Path) -> dict:
    "Open a page and ask it; seconds."
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(600_000)
    before = processor()
    page.goto(file.as_uri(), wait_until="commit", timeout=600_000)
    found = {"first_card_s": page.evaluate(DRAWN), "first_card_processor_s": processor() - before}
    found |= {name: page.evaluate(ANSWERED, list(asked)) for name, asked in ASKED.items()}
    page.close()
    return found


def measure(
    browser: Browser, inspection: Path, numbers: list[int], rounds: int, folder: Path
) -> pd.DataFrame:
    "A row for each number, way and round."
    rows = []
    for number in numbers:
        outs = {way: folder / f"{number} {way}" for way in WAYS}
        about = {}
        for way, out in outs.items():
            out.mkdir()
            about[way] = {"images": number, "gallery": way} | written(inspection, out, number, way)
        for turn in range(rounds):
            for way in [*WAYS][:: 1 - 2 * (turn % 2)]:
                rows.append(about[way] | {"round": turn} | opened(browser, outs[way] / "index.html"))
                print(rows[-1], flush=True)
        for out in outs.values():
            shutil.rmtree(out)
    return pd.DataFrame(rows)


def compared(measured: pd.DataFrame) -> pd.DataFrame:
    "The table: medians of the rounds, and of the ratios within a round."
    keys = ["images", "gallery"]
    table = measured.groupby(keys, sort=False).median().drop(columns="round")
    for name in ("first_card_s", "first_card_processor_s", *ASKED):
        seconds = measured.set_index([*keys, "round"])[name]
        ratio = seconds / seconds.xs("one file", level="gallery")
        table[f"{name.removesuffix('_s')}_ratio"] = ratio.groupby(keys).median()
    return table.reset_index().assign(rounds=measured["round"].nunique(), processors=os.cpu_count())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--inspection", type=Path, required=True, help="folder that `inspect` wrote, up to 2000 images"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--numbers", type=int, nargs="+", default=[2000, 20_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(dir=args.inspection.parent) as folder:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        measured = measure(browser, args.inspection, args.numbers, args.rounds, Path(folder))
        browser.close()
    table = compared(measured)
    print(table.round(3).to_string(index=False))
    args.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out / "large_gallery.csv", index=False)


if __name__ == "__main__":
    main()
