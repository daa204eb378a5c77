"""The gallery in a browser, as a line engineer meets it: opened from disk, filtered, with file names that mean harm."""

import csv
import io

import pytest
from PIL import Image

from mvtec_xai.blocks import languages
from mvtec_xai.tools.gallery import card, gallery
from mvtec_xai.tools.gallery_words import ENGLISH

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
    line("settled.png", "normal", 0.2, asked=0.1) | {"verified": True},
]


@pytest.fixture
def opened(browser, tmp_path):
    "opened(lines) gives the page, once it is drawn, and what it asked for or complained of."

    def start(lines, **options):
        (tmp_path / "thumbs").mkdir(exist_ok=True)
        Image.new("RGB", (224, 224), "grey").save(tmp_path / "thumbs" / "clear.jpg")
        (tmp_path / "index.html").write_text(gallery([card(x) for x in lines], **options), encoding="utf-8")
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


def test_a_card_says_which_part_it_is(opened):
    refused = line("noise.png", "unfamiliar", None, category="") | {"category_source": "model"}
    lines = [
        refused | {"category_suggested": "pill", "category_confidence": 0.9},
        line("box.png", "unfamiliar", None) | {"category_source": "folder", "category_suggested": "pill"},
        line("flat.png", "normal", 0.01) | {"category_source": "model", "category_confidence": 0.93},
    ]
    page, _, said = opened(lines)
    cards = page.locator("article").all_inner_texts()
    assert "None of the parts that the run knows; the nearest is pill" in cards[0]
    assert "It looks like pill" in cards[1] and "NaN" not in "".join(cards)
    assert "recognised by its image, 93" in cards[2] and not said
    page.locator("#sort").select_option("doubt")
    assert page.locator("article").count() == 3


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


def test_everyone_can_use_the_page(opened, grave):
    page, _, _ = opened(LINES)
    assert grave(page) == []
    page.click("article >> nth=0")
    assert page.is_visible("#large") and grave(page) == []


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


def test_an_address_of_an_earlier_inspection_hides_nothing(opened):
    page, _, _ = opened(LINES)
    page.goto(page.url.partition("#")[0] + "#group=screw+7&largest=50&type=gone&sort=odd&verdict=odd")
    page.reload()
    page.wait_for_selector("article")
    assert len(names(page)) == len(LINES)
    assert page.locator("#type").evaluate("select => select.selectedIndex") == 0


def test_filters_fill_no_history_and_read_accents_in_either_form(opened):
    page, _, _ = opened([line("va\u0301lvula.png", "normal", 0.01), *LINES])
    steps = page.evaluate("history.length")
    page.locator("#name").press_sequentially("válv")
    assert names(page) == ["va\u0301lvula.png"]
    assert page.evaluate("history.length") == steps


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


def saved(page, button: str = "#save") -> tuple[str, list[list[str]]]:
    "Name and rows of the table that a button saves."
    with page.expect_download() as waiting:
        page.click(button)
    text = waiting.value.path().read_bytes().decode()
    return waiting.value.suggested_filename, list(csv.reader(io.StringIO(text, newline="")))


def count(page) -> str:
    return page.inner_text("#count")


def press(page, name: str, button: str) -> None:
    "Press a button of a card."
    card_of(page, name).locator(f"button[data-mark={button}]").click()


def card_of(page, name: str):
    return page.locator("article", has=page.locator(f".n[title='/parts/{name}']"))


def test_marks_are_counted_undone_kept_and_saved(opened):
    page, asked, said = opened(LINES, fingerprint="one")
    assert "Is the machine right?" in count(page) and page.is_disabled("#save") and page.is_disabled("#undo")
    press(page, "clear.png", "right")
    press(page, "settled.png", "wrong_defective")
    press(page, "doubtful.png", "good")
    assert count(page) == "3 of 6 images marked. They stay in this browser alone until you save them."
    assert not page.is_visible("#large")  # a click on a button is none on the card
    page.click("#undo")
    assert count(page).startswith("2 of 6") and "You:" not in card_of(page, "doubtful.png").text_content()
    page.reload()
    page.wait_for_selector("article")
    assert "You: defective, scratch" in card_of(page, "clear.png").text_content()
    assert count(page).startswith("2 of 6") and "browser alone" in count(page)
    name, rows = saved(page)
    assert name == "feedback.csv" and rows == [
        ["path", "category", "verdict", "type"],
        ["/parts/clear.png", "screw", "anomalous", "scratch"],
        ["/parts/settled.png", "screw", "anomalous", ""],
    ]
    assert count(page) == "2 of 6 images marked, saved as feedback.csv."
    page.click("#undo")
    assert count(page).startswith("1 of 6") and "browser alone" in count(page)  # not as it was saved
    press(page, "clear.png", "right")  # a second time: taken back
    assert "Is the machine right?" in count(page)
    assert not said and all(url.startswith(("file:", "blob:")) for url in asked)


def test_a_double_click_marks_one_image(opened):
    page, _, _ = opened(LINES)
    page.click("article >> nth=0")
    page.locator("#mark button").first.dblclick()
    assert count(page).startswith("1 of 6")


def test_marks_belong_to_one_inspection(opened):
    page, _, _ = opened(LINES, fingerprint="one")
    press(page, "clear.png", "right")
    page, _, _ = opened(LINES, fingerprint="two")
    assert "Is the machine right?" in count(page)


def test_what_is_offered_fits_what_the_machine_said(opened):
    unknown = line("new.png", "anomalous", 0.95, kind="unknown")
    page, _, _ = opened([*LINES, unknown, line("bottle.png", "unfamiliar", 0.999)])
    offered = {
        name: texts(card_of(page, f"{name}.png").locator("button"))
        for name in ("clear", "calm", "doubtful", "bottle", "broken")
    }
    assert offered == {
        "clear": ["Right", "Wrong: it is good", "Another type…"],
        "calm": ["Right", "Wrong: it is defective"],
        "doubtful": ["Good", "Defective", "Which type…"],
        "bottle": ["Good", "Defective", "Which type…"],
        "broken": [],
    }
    press(page, "new.png", "right")
    press(page, "doubtful.png", "defective")  # its type is a guess: not taken over
    assert saved(page)[1][1:] == [
        ["/parts/doubtful.png", "pill", "anomalous", ""],
        ["/parts/new.png", "screw", "anomalous", ""],
    ]


def test_keys_mark_and_go_on(opened):
    types = {"screw": ["bent", "scratch", "thread"]}
    page, _, said = opened(LINES, types=types)
    page.select_option("#sort", "name")
    page.fill("#name", ".png")
    page.click("article >> nth=3")  # clear.png, after HARM, broken.png and calm.png
    assert page.inner_text("#about").startswith("anomalous")
    for key in "t3":  # the third of the known types
        page.keyboard.press(key)
    assert "clear.png: defective, thread" in page.inner_text("#told")
    assert "doubtful.png" in page.inner_text("#about")  # the next one
    page.keyboard.press("t")
    page.fill("#types input", "unknown")
    page.keyboard.press("Enter")
    assert "no name of a defect" in page.inner_text("#types") and count(page).startswith("1 of 6")
    page.fill("#types input", " crumbled, edge ")  # letters in a name are no keys
    page.keyboard.press("Enter")
    assert "settled.png" in page.inner_text("#about") and page.is_disabled("#after")
    page.keyboard.press("w")
    assert count(page).startswith("3 of 6") and "You: defective" in page.inner_text("#mark")
    page.keyboard.press("t")
    page.keyboard.press("Escape")  # closes the question, not the view
    assert page.is_visible("#large") and not page.is_visible("#types")
    page.keyboard.press("u")
    page.keyboard.press("Control+z")
    assert count(page).startswith("1 of 6") and "doubtful.png" in page.inner_text("#about")
    page.keyboard.press("g")
    assert saved_after_closing(page)[1:] == [
        ["/parts/doubtful.png", "pill", "normal", ""],
        ["/parts/clear.png", "screw", "anomalous", "thread"],
    ]
    assert not said


def test_the_type_that_is_marked_already_may_be_chosen_again(opened):
    page, _, _ = opened(LINES, types={"screw": ["bent", "scratch"]})
    page.click("article:has-text('clear.png')")
    for key in ("r", "ArrowLeft", "t", "2"):  # right, that is scratch; and scratch once more
        page.keyboard.press(key)
    assert count(page).startswith("1 of 6") and "clear.png" not in page.inner_text("#about")
    for key in ("ArrowLeft", "t"):
        page.keyboard.press(key)
    page.fill("#types input", "Bent ")  # as one reads it, a known type
    page.keyboard.press("Enter")
    assert saved_after_closing(page)[1:] == [["/parts/clear.png", "screw", "anomalous", "bent"]]


def test_a_second_window_does_not_close_the_question(opened):
    page, _, _ = opened(LINES, fingerprint="one")
    with page.expect_popup() as opening:
        page.evaluate("window.open(location.href) && 0")
    other = opening.value
    other.wait_for_selector("article")
    page.click("article:has-text('clear.png')")
    page.keyboard.press("t")
    page.fill("#types input", "half a na")
    press(other, "calm.png", "right")
    page.wait_for_function("document.getElementById('count').textContent.startsWith('1 of 6')")
    assert page.is_visible("#types") and page.input_value("#types input") == "half a na"


def test_a_button_keeps_the_focus_when_it_is_pressed(opened):
    page, _, _ = opened(LINES)
    card_of(page, "clear.png").locator("[data-mark=right]").focus()
    page.keyboard.press("Enter")
    assert count(page).startswith("1 of 6")
    assert page.evaluate("document.activeElement.dataset.mark") == "right"


def saved_after_closing(page) -> list[list[str]]:
    page.keyboard.press("Escape")
    return saved(page)[1]


def test_any_name_comes_through_the_table(opened):
    odd = line('caf\udce9, "1"\n.png', "anomalous", 0.97, kind="bent")
    page, _, said = opened([odd, *LINES])
    page.click("article >> nth=2 >> button[data-mark=right]")
    page.click("article >> nth=3 >> button[data-mark=other_type]")
    page.fill("#types input", 'a "type", of ñ')
    page.click("#types button:not([type=button])")
    rows = saved_after_closing(page)
    assert rows[1] == [
        "/parts/" + odd["name"].encode("utf-8", "backslashreplace").decode(),
        "screw",
        "anomalous",
        "bent",
    ]
    assert rows[2] == [f"/parts/{HARM}", "<b>nut</b>", "anomalous", 'a "type", of ñ']
    assert not said


def test_what_is_shown_can_be_saved_as_a_list(opened):
    page, _, _ = opened(LINES)
    page.click("button[data-verdict=anomalous]")
    page.select_option("#category", "screw")
    name, rows = saved(page, "#save-list")
    assert name == "shown.csv" and rows == [
        ["path", "category", "verdict", "probability", "defect_type"],
        ["/parts/clear.png", "screw", "anomalous", "0.99", "scratch"],
    ]
    page.select_option("#category", "")
    page.click("button[data-verdict=anomalous]")
    press(page, "calm.png", "right")
    page.select_option("#marked", "yes")
    assert names(page) == ["calm.png"]
    page.select_option("#marked", "no")
    assert len(names(page)) == 5


def test_a_browser_that_keeps_nothing_says_so(opened):
    page, _, said = opened(LINES)
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('no') }})")
    page.reload()
    page.wait_for_selector("article")
    press(page, "clear.png", "right")
    assert "keeps nothing: save" in count(page) and saved(page)[1][1][2] == "anomalous"
    assert not said


def test_known_defects_are_pictures_where_there_are_some(opened, tmp_path):
    (tmp_path / "known").mkdir()
    Image.new("RGB", (160, 160), "grey").save(tmp_path / "known" / "7.jpg")
    page, asked, said = opened(LINES, known={"screw/test/scratch/007": "known/7.jpg"})
    picture = card_of(page, "clear.png").locator(".near img")
    assert picture.evaluate("e => e.decode().then(() => e.naturalWidth)") == 160
    assert picture.get_attribute("alt") == "scratch/007"
    assert "like the known defects" not in card_of(page, "clear.png").text_content()
    assert not said


def test_unknown_ones_that_resemble_each_other_are_a_group(browser, tmp_path):
    cards = [card(line(f"{k}.png", "anomalous", 0.9, kind="unknown")) for k in range(5)]
    for one in cards[:4]:
        one["group"] = "screw 1"
    (tmp_path / "index.html").write_text(gallery(cards), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_selector("article")
    assert page.inner_text("#groups") == "4 images of screw may be one new type"
    page.click("#groups button")
    assert names(page) == ["0.png", "1.png", "2.png", "3.png"]
    assert "one of 4 images that may be one new type" in texts(page.locator("article"))[0]
    page.fill("#groups input", "crumbled")
    page.click("#groups form button:not([type=button])")
    assert {(row[2], row[3]) for row in saved(page)[1][1:]} == {("anomalous", "crumbled")}
    assert count(page).startswith("4 of 5")
    page.click("#undo")  # all four were one step
    assert "Is the machine right?" in count(page)
    press(page, "1.png", "wrong_good")
    page.fill("#groups input", "crumbled")
    page.click("#groups form button:not([type=button])")  # what a person has said of one image stays
    assert sorted(row[2] for row in saved(page)[1][1:]) == ["anomalous"] * 3 + ["normal"]
    page.click("#groups button")
    assert len(names(page)) == 5


def test_a_page_without_groups_does_not_speak_of_them(opened):
    page, _, _ = opened(LINES)
    assert not page.is_visible("#groups")


def test_the_whole_page_in_spanish(opened):
    page, _, said = opened(LINES, language="es")
    assert page.evaluate("document.documentElement.lang") == "es" and page.title() == "Inspecciones"
    page.click("article >> nth=1")
    page.keyboard.press("t")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    shown = page.evaluate(
        "document.body.innerText + [...document.querySelectorAll('option')].map(o => o.text)"
    )
    labels = page.evaluate("[...document.querySelectorAll('[aria-label]')].map(e => e.ariaLabel).join(' ')")
    for text in (
        "Inspecciones",
        "anómala 2",
        "Dudosa: decide una persona",
        "Seguridad: 99",
        "1 de 6 imágenes",
    ):
        assert text in shown.replace("\u00a0", " "), text
    spanish = languages.texts("gallery", ENGLISH, "es")
    foreign = [
        t for k, t in ENGLISH.items() if len(t) > 6 and "{" not in t and t != spanish[k] and k != "key"
    ]
    assert [t for t in foreign if t in shown + labels] == []
    assert not said
