"""The inspection page in a browser, on a small finished run, and what it says of real inspections."""

import shutil
import subprocess
import sys
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from mvtec_xai.pipeline import Inspection, InspectionPipeline
from mvtec_xai.tools.app import Workbench, answer
from mvtec_xai.tools.reasons import explain_inspection, tell
from mvtec_xai.tools.words import LANGUAGES, Words

SPY = """
import socket, sys
calls = open(sys.argv.pop(1), "a", buffering=1)
names = {"socket.connect": lambda s, address: address, "socket.getaddrinfo": lambda *about: about}
sys.addaudithook(lambda event, about: event in names and calls.write(f"{names[event](*about)[0]}\\n"))
socket.getaddrinfo("localhost", 80)
from mvtec_xai.tools.cli import main
main()
"""  # the program, writing down whom it calls, after one look-up that shows that it does


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "verdict, p", [("normal", 0.1), ("review", 0.5), ("anomalous", 0.99), ("anomalous", 0.5)]
)
def test_every_verdict_is_told_in_every_language(language, verdict, p):
    heat = np.eye(64, dtype=np.float32)
    known = (
        {"defect_type": "unknown", "type_confidence": 0.3, "type_distances": {"crack": 1.25}}
        if verdict != "normal"
        else {}
    )
    seen = {"score_map": heat, "image_size": 64} if verdict != "normal" else {}
    asked = {"verified": True, "reconstruction_percentile": 0.93} if p == 0.5 else {}
    inspection = Inspection(
        None, "gear", verdict, p, 0.3, 0.9, **seen, **known, **asked, timings={"read": 1.0, "detect": 2.0}
    )
    words = Words(language)
    told = tell(inspection, explain_inspection(inspection, np.zeros((64, 64, 3), np.uint8), {}, words), words)
    assert told.count("<section>") == 6
    assert words(f"{verdict}_means") in told and f'class="verdict {verdict}"' in told
    assert (words.percent(0.93) in told) == (p == 0.5)
    assert (words("type_nearest", type="crack") in told) == (verdict != "normal")


def test_answer_is_that_of_the_pipeline(own, finished):
    bench = Workbench.from_run(finished)
    pipeline = InspectionPipeline.from_pretrained(finished)
    assert set(bench.examples.category) == {"lid", "washer"} and set(bench.examples.label) == {0, 1}
    for path in (own / "washer" / "test").glob("*/000.png"):
        inspection = pipeline.inspect([path])[0]
        told = answer(bench, str(path), "washer")
        assert (
            f'class="verdict {inspection.verdict}"' in told
            and bench.words.number(inspection.probability) in told
        )
        assert told.count("<figure>") == len(inspection.neighbours)
        assert bench.words("gone") not in told


def test_a_run_whose_images_are_gone(finished, tmp_path):
    shutil.copytree(
        finished, tmp_path / "run", ignore=shutil.ignore_patterns("00_data", "notebooks", "figures")
    )
    bench = Workbench.from_run(tmp_path / "run")
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white.png")
    assert len(bench.examples) == 0
    assert "<img" in answer(bench, str(tmp_path / "white.png"), "lid")


@pytest.fixture(scope="module")
def served(finished, tmp_path_factory):
    "The address of the page, and the file with the names that its program has called."
    calls = tmp_path_factory.mktemp("served") / "calls"
    command = [sys.executable, "-c", SPY, str(calls), "app", "--run", str(finished), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().split()[0]
        yield address, calls
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture
def page(browser, served):
    "The page, freshly opened; its `asked` lists the addresses that it has asked for."
    page = browser.new_page(viewport={"width": 420, "height": 900})
    page.set_default_timeout(60_000)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(served[0])
    page.wait_for_selector("#result")
    yield page
    page.close()


def test_an_example_is_told_and_nothing_leaves_the_machine(page, served):
    page.locator(".thumbnail-item").nth(1).click()
    page.wait_for_selector("#result .verdict")
    assert page.locator("#result section").count() == 6
    assert page.locator("#result .verdict strong").inner_text().lower() in ("normal", "review", "anomalous")
    assert page.evaluate(
        "document.documentElement.scrollWidth <= innerWidth"
    )  # nothing sticks out of a narrow screen
    assert {urlsplit(u).hostname for u in page.asked if not u.startswith(("data:", "blob:"))} == {"127.0.0.1"}
    assert served[1].read_text().split() == ["localhost"]


def test_uploads_good_and_bad(page, tmp_path):
    def inspect(says: str) -> None:
        page.get_by_role("button", name="Inspect", exact=True).click()
        expect(page.locator("#result")).to_contain_text(says, timeout=60_000)

    def upload(path) -> None:
        if (clear := page.get_by_label("Clear", exact=True)).count():
            clear.click()
            expect(page.locator(".preview, .problem >> text=.png")).to_have_count(
                0
            )  # else the answer to this may come after the upload's
            expect(clear).to_have_count(0)
        page.set_input_files("input[type=file]", path)

    inspect("no image yet")
    Image.fromarray(np.random.default_rng(0).integers(0, 65535, (70, 80)).astype(np.uint16)).save(
        tmp_path / "deep.png"
    )
    upload(tmp_path / "deep.png")
    page.wait_for_selector(".preview >> text=deep.png")
    inspect("No category")
    page.get_by_label("Category").click()
    page.get_by_role("option", name="lid").click()
    inspect("80 x 70 pixels")
    assert page.locator("#result .verdict").count() == 1
    (tmp_path / "broken.png").write_bytes(b"not an image")
    upload(tmp_path / "broken.png")
    page.wait_for_selector(".problem >> text=broken.png")
    inspect("broken.png: cannot be read")
    assert page.locator("#result .verdict").count() == 0
