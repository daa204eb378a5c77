"""Photograph gallery, page and atlas for README and site, in Chromium, from a finished run on the drawn sample.

    make run && .venv/bin/python .ci/screenshots.py [--run runs/sample]

Only the drawn sample may be shown: a run on other data is refused. Each picture in nbs/pictures stays below 150 KB.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from mvtec_xai.blocks.runs import read_json

PICTURES = Path(__file__).parents[1] / "nbs" / "pictures"
LARGEST = 150_000  # bytes
WIDTH = 1280  # of the window, in pixels
PROGRAM = Path(sys.executable).with_name("mvtec-xai")


def opened(browser: Browser, height: int) -> Page:
    "An empty page, drawn sharply enough for a fine screen."
    return browser.new_page(viewport={"width": WIDTH, "height": height}, device_scale_factor=1.5)


def save(page: Page, name: str) -> None:
    "Write what `page` shows as PICTURES/`name`.webp, as well as fits; ValueError where it does not fit at all."
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in (92, 85, 75, 65, 55):
        file = io.BytesIO()
        shot.save(file, "WEBP", quality=quality, method=6)
        if file.tell() <= LARGEST:
            (PICTURES / f"{name}.webp").write_bytes(file.getvalue())
            print(
                f"{name}.webp: {file.tell() / 1000:.0f} kB, quality {quality}, {shot.width} x {shot.height}"
            )
            return
    raise ValueError(f"{name}: {file.tell()} bytes even at quality {quality}; show less of it")


def gallery(browser: Browser, run: Path, folder: Path) -> None:
    "Inspect some drawn parts, and show what `inspect` wrote."
    folders = [f for f in sorted(run.glob("sample/*/test")) if (run / "01_classifier" / f.parts[-2]).is_dir()]
    parts = [p for f in folders for p in (*f.glob("*/000.png"), *f.glob("good/00[1-4].png"))]
    subprocess.run([PROGRAM, "inspect", *parts, "--run", run, "--out", folder], check=True)
    page = opened(browser, 800)
    page.goto((folder / "index.html").as_uri())
    page.locator("article img").first.wait_for()
    page.wait_for_load_state("networkidle")
    save(page, "gallery")


@contextmanager
def served(run: Path) -> Iterator[str]:
    "The address of the inspection page, while it runs."
    command = [PROGRAM, "app", "--run", run, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program.stdout.readline().split()[0]
        finally:
            program.terminate()


def app(browser: Browser, run: Path) -> None:
    "Choose a defective example, and show its decision."
    with served(run) as address:
        page = opened(browser, 960)
        page.goto(address)
        page.locator(".thumbnail-item").filter(has_not_text="good").first.click()
        page.locator("#result section").first.wait_for(timeout=120_000)
        page.wait_for_timeout(1500)  # it scrolls to the answer
        page.evaluate("window.scrollTo(0, 0)")
        page.wait_for_timeout(500)
        save(page, "app")
        page.close()  # so that the program can end at once


def atlas(browser: Browser, run: Path) -> None:
    "Choose a defect on the map of one category, and show it with those like it."
    page = opened(browser, 800)
    page.goto((run / "05_atlas" / "atlas.html").as_uri())
    page.locator("#map .points path").first.wait_for(state="attached")
    page.select_option("#view", "pill")
    page.check("[value=tsne]")
    page.wait_for_timeout(500)
    marks = page.locator("#map .points path")
    place = marks.nth(marks.count() // 2).bounding_box()
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    page.locator("#near button").first.wait_for()
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)
    save(page, "atlas")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/sample"), help="a finished run on the sample")
    run = parser.parse_args().run.absolute()
    if read_json(run / "manifest.json")["data"] != "sample":
        sys.exit(f"{run}: not a run on the drawn sample, and no other pixels may be published")
    PICTURES.mkdir(exist_ok=True)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        gallery(browser, run, Path(folder) / "inspected")
        app(browser, run)
        atlas(browser, run)
        browser.close()


if __name__ == "__main__":
    main()
