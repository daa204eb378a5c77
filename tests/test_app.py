"""The inspection page in a browser, on a small finished run, and what it says of real inspections."""

import csv
import re
import shutil
import subprocess
import sys
from urllib.parse import urlsplit

import numpy as np
import pytest
from conftest import COLUMNS, SIZES
from PIL import Image
from playwright.sync_api import expect

from mvtec_xai.blocks.languages import languages
from mvtec_xai.blocks.runs import read_table
from mvtec_xai.pipeline import Inspection, InspectionPipeline
from mvtec_xai.tools.reasons import explain_inspection, tell
from mvtec_xai.tools.words import Words
from mvtec_xai.tools.workbench import Workbench, answer

expect.set_options(timeout=60_000)  # as long as the pages wait
SPY = """
import socket, sys
calls = open(sys.argv.pop(1), "a", buffering=1)
names = {"socket.connect": lambda s, address: address, "socket.getaddrinfo": lambda *about: about}
sys.addaudithook(lambda event, about: event in names and calls.write(f"{names[event](*about)[0]}\\n"))
socket.getaddrinfo("localhost", 80)
from mvtec_xai.tools.cli import main
main()
"""  # the program, writing down whom it calls, after one look-up that shows that it does


@pytest.mark.parametrize("language", languages())
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
        told = answer(bench, str(path), "washer").told
        assert (
            f'class="verdict {inspection.verdict}"' in told
            and bench.words.number(inspection.probability) in told
        )
        assert told.count("<figure>") == told.count("atlas#washer") == len(inspection.neighbours)
        assert bench.words("gone") not in told


def test_a_run_whose_images_are_gone(finished, tmp_path):
    shutil.copytree(
        finished, tmp_path / "run", ignore=shutil.ignore_patterns("00_data", "notebooks", "figures")
    )
    bench = Workbench.from_run(tmp_path / "run")
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white.png")
    assert len(bench.examples) == 0
    assert bench.regions("lid/test/crack/000").sum() == 0 and bench.atlas
    (tmp_path / "run" / "05_atlas" / "atlas.html").unlink()
    assert Workbench.from_run(tmp_path / "run").atlas is None
    assert "<img" in answer(bench, str(tmp_path / "white.png"), "lid").told


def test_known_defects_are_outlined_as_on_the_atlas(finished):
    bench = Workbench.from_run(finished)
    regions = [bench.regions(name) for name in bench.examples[bench.examples.label == 1].image_id]
    assert {region.shape for region in regions} == {(64, 64)}
    assert any(0 < region.mean() < 1 for region in regions)


def test_examples_that_were_decided_clearly_come_first(finished):
    bench = Workbench.from_run(finished)
    verdicts = read_table(finished / "06_pipeline" / "verdicts.parquet").set_index("image_id").verdict
    right = [
        verdicts[e.image_id] == ("anomalous" if e.label else "normal") for e in bench.examples.itertuples()
    ]
    assert right == sorted(right, reverse=True)


@pytest.fixture(scope="module", params=["en", "es"])
def served(request, finished, tmp_path_factory):
    "Address and words of the page in a language, and the file with the names that its program has called."
    calls = tmp_path_factory.mktemp("served") / "calls"
    command = [sys.executable, "-c", SPY, str(calls), "app", "--run", str(finished), "--port", "0"]
    command += ["--language", request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().split()[0]
        yield address, Words(request.param), calls
        process.terminate()
        assert process.wait(120) == 0


@pytest.fixture
def page(browser, served):
    "The page, freshly opened; its `asked` lists the addresses that it has asked for."
    looks = {"viewport": {"width": 420, "height": 900}, "locale": "en-US", "reduced_motion": "reduce"}
    page = browser.new_page(**looks)
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
    assert page.locator("#result section").count() == 8
    verdicts = [served[1](verdict) for verdict in ("normal", "review", "anomalous", "unfamiliar")]
    assert page.locator("#result .verdict strong").inner_text().lower() in verdicts
    assert page.evaluate(
        "document.documentElement.scrollWidth <= innerWidth"
    )  # nothing sticks out of a narrow screen
    assert {urlsplit(u).hostname for u in page.asked if not u.startswith(("data:", "blob:"))} == {"127.0.0.1"}
    assert served[2].read_text().split() == ["localhost"]


def upload(page, *paths) -> None:
    page.set_input_files("#upload input[type=file]", paths)
    page.wait_for_selector("#dropped .reasons")


def inspect(page, words, category: str = "") -> None:
    if category:
        field = page.get_by_label(words("choose_or_not"), exact=True)
        field.fill(category)
        field.press("Enter")  # a click would wait for the list to stand still, on a busy machine too long
    page.get_by_role("button", name=words("inspect"), exact=True).click()


def remove(page, words, count: int) -> None:
    "Take away the first `count` files, one straight after the other."
    for _ in range(count):
        page.locator("#upload").get_by_role("button", name=words("remove")).first.click()


def test_files_taken_away_quickly_are_all_gone(page, served, own, tmp_path):
    names = [f"{k}.png" for k in range(4)]
    for k, name in enumerate(names):
        shutil.copy(own / "lid" / "test" / "good" / f"{k:03d}.png", tmp_path / name)
    upload(page, *(tmp_path / name for name in names))
    expect(page.locator("#dropped .preview span")).to_have_text(names)
    remove(page, served[1], 2)
    expect(page.locator("#dropped .preview span")).to_have_text(names[2:])
    inspect(page, served[1], "lid")
    expect(page.locator("#strip .caption-label")).to_contain_text(names[2:])


def test_the_example_chosen_last_is_told(page, served, finished):
    bench = Workbench.from_run(finished)
    rows = list(bench.examples.head(2).itertuples())
    told = [re.search('data:image[^"]+', answer(bench, row.path, row.category).told)[0] for row in rows]
    assert told[0] != told[1]
    for k in range(2):  # the second while the first is inspected
        page.locator("#examples .thumbnail-item").nth(k).click()
    expect(page.locator("#result img").first).to_have_attribute("src", told[1])


def test_what_is_asked_meanwhile_is_answered_next(page, served, own):
    files = sorted((own / "washer" / "test").glob("*/*.png"))[:8]
    upload(page, *files[:7])
    inspect(page, served[1], "washer")
    page.wait_for_selector("#result .verdict")
    page.set_input_files("#upload input[type=file]", files[7:])
    expect(page.locator("#dropped .preview")).to_have_count(8)
    inspect(page, served[1])
    expect(page.locator("#strip .thumbnail-item")).to_have_count(8)


def test_the_next_heatmap_is_as_strong_as_the_slider_says(page, served, finished, own):
    judged = InspectionPipeline.from_pretrained(finished).inspect(
        sorted((own / "lid" / "test").glob("*/*.png"))
    )
    upload(page, *[i.path for i in judged if i.suspicious][:2])
    inspect(page, served[1], "lid")
    expect(page.locator("#download")).to_be_visible()
    slider = page.get_by_label(served[1]("opacity"))
    slider.fill("0")
    page.locator("#next").click()
    second = served[1]("position", place=2, count=2, name="")
    expect(page.locator("#progress")).to_contain_text(second.strip().rstrip(":"))
    expect(page.locator("#result .layers img").last).to_have_css("opacity", slider.input_value())


def test_the_page_can_be_used_by_everyone(page, served, finished, grave):
    images = [row.path for row in Workbench.from_run(finished).examples.head(3).itertuples()]
    page.set_viewport_size({"width": 1300, "height": 900})
    upload(page, *images)
    inspect(page, served[1])
    page.wait_for_selector("#result .verdict")
    assert grave(page) == []


def test_a_file_is_refused_with_a_reason_in_the_language_of_the_page(page, served, tmp_path):
    words = served[1]
    (tmp_path / "notes.txt").write_text("bring the camera")
    (tmp_path / "fake.png").write_bytes(b"not an image")
    Image.new("1", (20_000, 14_000)).save(tmp_path / "bomb.png")
    inspect(page, words)
    expect(page.locator("#result .problem")).to_have_text(words("no_image"))
    upload(page, *(tmp_path / name for name in ("notes.txt", "fake.png", "bomb.png")))
    reasons = [words("not_image", name="notes.txt"), words("not_image", name="fake.png")]
    reasons.append(words("too_large", name="bomb.png", most=100))
    expect(page.locator("#dropped .problem")).to_have_text(reasons)
    inspect(page, words)
    expect(page.locator("#result .problem")).to_have_text(reasons[0])  # nobody has to choose a category
    expect(page.locator("#download")).to_be_visible()  # all three are told, nothing moves any more
    remove(page, words, 1)
    expect(page.locator("#dropped .problem")).to_have_text(reasons[1:])
    inspect(page, words, "lid")
    expect(page.locator("#strip .thumbnail-item")).to_have_count(2)
    expect(page.locator("#result .problem")).to_have_text(reasons[1])
    assert page.locator("#result .verdict").count() == 0


def test_a_part_is_recognised_by_its_image(page, served, own, tmp_path):
    shutil.copy(own / "lid" / "test" / "good" / "000.png", tmp_path / "part.png")
    Image.effect_noise((64, 64), 90).save(tmp_path / "noise.png")
    upload(page, tmp_path / "part.png", tmp_path / "noise.png")
    inspect(page, served[1])
    page.wait_for_selector("#download", state="visible")
    told = served[1]("category_told", p="#").split(":")[0]
    assert "lid." in page.locator("#result").inner_text() and told in page.locator("#result").inner_text()
    page.locator("#next").click()
    expect(page.locator("#result .verdict")).to_contain_text(served[1]("none_means"))


def test_several_images_stand_in_a_queue_and_their_table_is_saved(page, served, own, tmp_path):
    words = served[1]
    deep = np.random.default_rng(0).integers(0, 65535, (70, 80)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    (tmp_path / "fake.png").write_bytes(b"not an image")
    files = [tmp_path / "deep.png", tmp_path / "fake.png", own / "lid" / "test" / "good" / "000.png"]
    upload(page, *files)
    inspect(page, words, "lid")
    page.wait_for_selector("#download", state="visible")
    assert "80 x 70" in page.locator("#result").inner_text()
    captions = page.locator("#strip .caption-label").all_inner_texts()
    assert [c.split(":")[0] for c in captions] == ["deep.png", "fake.png", "000.png"]
    assert captions[1] == f"fake.png: {words('not_inspected')}"
    page.locator("#next").click()
    expect(page.locator("#progress")).to_have_text(words("position", place=2, count=3, name="fake.png"))
    expect(page.locator("#result .problem")).to_have_text(words("not_image", name="fake.png"))
    page.locator("#strip .thumbnail-item").nth(2).click()
    expect(page.locator("#progress")).to_contain_text("000.png")
    assert page.locator("#result .verdict").count() == 1
    page.locator("#previous").click()
    expect(page.locator("#progress")).to_contain_text("fake.png")
    with page.expect_download() as download:
        page.locator("#download").click()
    with open(download.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*COLUMNS, *SIZES] and [row["path"] for row in rows] == [
        "deep.png",
        "fake.png",
        "000.png",
    ]
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert rows[1]["error"] == words("not_image", name="fake.png")


def test_the_parts_of_gradio_speak_the_language_of_the_page(page, served):
    words = served[1]
    language = "es" if words.sign == "," else "en"
    assert page.get_attribute("html", "lang") == language
    asked = {"en": "Click to Upload", "es": "Haga clic para cargar"}
    assert asked[language] in page.locator("#upload").inner_text()
    page.locator(".thumbnail-item").first.wait_for()
    labels = [item.get_attribute("aria-label") for item in page.locator(".thumbnail-item").all()]
    assert labels and not any(label.startswith("Thumbnail") for label in labels)


def test_heatmap_and_known_defects_can_be_looked_at_closely(page, served):
    examples = page.locator("#examples .thumbnail-item")
    examples.first.wait_for()
    for k in range(examples.count()):  # until one is not simply good
        page.reload()
        examples.nth(k).click()
        page.wait_for_selector("#result .verdict")
        if page.locator("#result .layers").count():
            break
    top = page.locator("#result .layers img").last
    slider = page.get_by_label(served[1]("opacity"))
    slider.fill("0.25")
    assert top.evaluate("e => getComputedStyle(e).opacity") == "0.25"
    known = page.locator("#result .larger").first
    small = known.locator("img").bounding_box()["width"]
    known.press("Enter")
    assert page.locator("dialog.enlarged img").bounding_box()["width"] > 1.5 * small
    page.keyboard.press("Escape")
    expect(page.locator("dialog.enlarged")).to_have_count(0)
    with page.context.expect_page() as opened:
        page.locator("#result .near a").first.click()
    assert urlsplit(opened.value.url).path == "/atlas"
    opened.value.wait_for_selector("#big")  # the map opens at this defect
