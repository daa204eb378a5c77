"""The gallery in a browser, as a line engineer meets it: opened from disk, filtered, with file names that mean harm."""

import pytest
from PIL import Image

from mvtec_xai.tools.gallery import card, gallery

HARM = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'.png"


def line(
    name: str,
    verdict: str,
    p: float,
    category: str = "screw",
    kind: str | None = None,
    error: str = "",
    asked: float | None = None,
):
    "A line of inspections.jsonl."
    return {
        "path": f"/parts/{name}",
        "name": name,
        "status": "error" if error else "ok",
        "error": error,
        "category": category,
        "verdict": verdict,
        "probability": p,
        "low": 0.3,
        "high": 0.8,
        "reconstruction_percentile": asked,
        "defect_type": kind,
        "type_confidence": 0.71 if kind else None,
        "type_distances": {"bent": 0.4, "scratch": 0.2, "cut": 0.9} if kind else {},
        "neighbours": [{"image_id": "screw/test/scratch/007", "defect": "scratch", "distance": 0.1}]
        if kind
        else [],
    }


LINES = [
    line("calm.png", "normal", 0.01),
    line("broken.png", "", 0, error="/parts/broken.png: cannot be read"),
    line("clear.png", "anomalous", 0.99, kind="scratch"),
    line("doubtful.png", "review", 0.5, category="pill", kind="bent", asked=0.9),
    line(HARM, "anomalous", 0.9, category="<b>nut</b>", kind='<i>"odd"</i>'),
    line("settled.png", "normal", 0.4, asked=0.1),
]


@pytest.fixture
def opened(browser, tmp_path):
    "opened(lines) gives the page, once it is drawn, and what it asked for or complained of."

    def start(lines):
        (tmp_path / "thumbs").mkdir(exist_ok=True)
        Image.new("RGB", (224, 224), "grey").save(tmp_path / "thumbs" / "clear.jpg")
        (tmp_path / "index.html").write_text(gallery([card(x) for x in lines]), encoding="utf-8")
        page, asked, said = browser.new_page(viewport={"width": 1280, "height": 900}), [], []
        page.on("request", lambda r: asked.append(r.url))
        page.on("dialog", lambda d: (said.append(d.message), d.dismiss()))
        page.on("pageerror", lambda e: said.append(str(e)))
        page.goto((tmp_path / "index.html").as_uri())
        page.wait_for_selector("article")
        return page, asked, said

    return start


def names(page) -> list[str]:
    return texts(page.locator("article .n:last-child"))


def texts(found) -> list[str]:
    "What is written, whether the browser has drawn it yet or not: cards are drawn when they come into view."
    return [text.replace("\u00a0", " ") for text in found.all_text_contents()]


def test_what_a_person_must_decide_comes_first(opened):
    page, asked, said = opened(LINES)
    assert names(page) == ["doubtful.png", "clear.png", HARM, "broken.png", "settled.png", "calm.png"]
    text = texts(page.locator("article"))
    assert "Undecided: a person decides" in text[0] and "stranger than 90 % of good parts" in text[0]
    assert (
        "99 % sure" in text[1]
        and "scratch (71 %)" in text[1]
        and "or, less likely, bent or cut" in text[1]
        and "scratch/007" in text[1]
    )
    assert "cannot be read" in text[3] and "sure" not in text[3]
    assert "second opinion decided" in text[4]
    assert not said


def test_a_very_high_probability_is_not_called_certain(opened):
    page, _, _ = opened([line("plain.png", "anomalous", 0.99999), line("calm.png", "normal", 0.00001)])
    assert ["over 99 % sure" in text for text in texts(page.locator("article"))] == [True, True]


def test_filters_and_their_counts(opened):
    page, _, _ = opened(LINES)
    page.click("button[data-verdict=anomalous]")
    assert names(page) == ["clear.png", HARM]
    page.select_option("#category", "screw")
    assert names(page) == ["clear.png"] and page.inner_text("#shown") == "1 of 6 images"
    assert page.inner_text("button[data-verdict=normal]") == "normal 2"  # as many as a click would show
    assert page.is_disabled("button[data-verdict=review]")
    page.click("button[data-verdict=anomalous]")
    assert len(names(page)) == 4
    page.select_option("#type", "scratch")
    assert names(page) == ["clear.png"]
    page.select_option("#type", "")
    page.fill("#name", "CALM")
    assert names(page) == ["calm.png"]
    page.fill("#name", "nothing like it")
    assert names(page) == [] and page.is_visible("#empty")


def test_harmless_and_offline(opened):
    page, asked, said = opened(LINES)
    assert (
        page.evaluate("document.querySelector('img[src=\"thumbs/clear.jpg\"]').decode().then(() => 'drawn')")
        == "drawn"
    )
    assert not said and page.locator("article script, article b, article i, article img[src=x]").count() == 0
    assert all(url.startswith("file:") for url in asked)
    blocked = page.evaluate("fetch('https://example.org').then(() => 'went out', () => 'stayed')")
    assert blocked == "stayed" and all(url.startswith("file:") for url in asked)


@pytest.mark.parametrize("width", [1280, 420])
def test_ten_thousand_images(opened, width):
    page, _, said = opened([line(f"{k}.png", "normal", k / 40000) for k in range(10_000)])
    page.set_viewport_size({"width": width, "height": 900})
    first = page.locator("article").count()
    assert 0 < first < 500
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator("article").nth(first).wait_for(state="attached")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not said


def test_a_click_shows_the_part_large_and_keys_go_on(opened, tmp_path):
    Image.new("RGB", (600, 400), "grey").save(tmp_path / "clear.png")
    lines = [line("clear.png", "anomalous", 0.99, kind="scratch"), line("calm.png", "normal", 0.01)]
    lines[0]["path"] = str(tmp_path / "clear.png")
    page, asked, said = opened(lines)
    page.click("article >> nth=0")
    assert page.is_visible("#large") and page.inner_text("#about").startswith("anomalous")
    assert page.evaluate("document.getElementById('whole').decode().then(() => 'drawn')") == "drawn"
    badge = page.evaluate("getComputedStyle(document.querySelector('#about .v')).backgroundColor")
    assert badge == "rgb(213, 94, 0)"  # as on the card
    page.fill("#opacity", "0.3")
    assert page.evaluate("document.getElementById('heat').style.opacity") == "0.3"
    page.focus("#after")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#about").startswith("normal") and page.is_disabled("#after")
    page.keyboard.press("Escape")
    assert not page.is_visible("#large")
    page.focus("article >> nth=1")
    page.keyboard.press("Enter")
    assert page.inner_text("#about").startswith("normal")
    assert not said and all(url.startswith("file:") for url in asked)


def test_order_and_filters_stay_in_the_address(opened):
    page, _, _ = opened(LINES)
    page.select_option("#sort", "doubt")
    assert names(page)[0] == "doubtful.png" and names(page)[-1] == "broken.png"
    page.select_option("#sort", "name")
    assert names(page) == sorted(names(page))
    page.click("button[data-verdict=normal]")
    page.reload()
    page.wait_for_selector("article")
    assert names(page) == ["calm.png", "settled.png"]


def test_a_strange_part_is_not_called_defective(browser, tmp_path):
    lines = [line("bottle.png", "unfamiliar", 0.999), line("clear.png", "anomalous", 0.99, kind="scratch")]
    (tmp_path / "index.html").write_text(gallery([card(x) for x in lines], drawn=True), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_selector("article")
    assert names(page)[0] == "bottle.png"
    first = texts(page.locator("article"))[0]
    assert "Not this part" in first and "sure" not in first and "probability" not in first
    assert "drawn parts" in page.inner_text("#key")
