"""A gallery in parts, in a browser: everything that one file does, over all rows and not only those that are drawn."""

import json

import pytest
from PIL import Image
from test_gallery import HARM, card_of, count, line, names, saved, saved_after_closing, texts

from mvtec_xai.tools import parts
from mvtec_xai.tools.parts import Cards, add_cards, write_gallery

NUMBER = 260  # images; more than are drawn at once


def lines_of(number: int) -> list[dict]:
    "Good parts in two folders, and what needs a person: one undecided, one of harmful name, one unread."
    good = [line(f"{'ab'[k % 2]}/{k:03}.png", "normal", k / 4000) for k in range(number - 3)]
    odd = line(HARM, "anomalous", 0.9, category="<b>nut</b>", kind="scratch", asked=0.9)
    broken = line("broken.png", "", 0, error="/parts/broken.png: cannot be read")
    return [*good, broken, odd, line("doubtful.png", "review", 0.5, category="pill", kind="bent")]


def cards_of(lines: list[dict], out) -> Cards:
    (out / "lines").write_text("".join(json.dumps(one) + "\n" for one in lines))
    cards = Cards(out / "lines")
    assert list(add_cards(cards)) == lines
    return cards


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "A gallery in parts of which none holds all: its groups, thumbnails and known defects too."
    out = tmp_path_factory.mktemp("large")
    lines = lines_of(NUMBER)
    for one in lines:
        if not one["error"]:
            place = (out / "thumbs" / one["name"]).with_suffix(".jpg")
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (16, 16), 90).save(place)
    cards = cards_of(lines, out)
    cards.columns["group"][:4] = ["screw 1"] * 4
    with pytest.MonkeyPatch.context() as lowered:
        for name, value in {"LIMIT": 100, "ROWS": 90, "DETAILS": 40, "THUMBS": 16}.items():
            lowered.setattr(parts, name, value)
        write_gallery(cards, out, types={"pill": ["bent", "cut"]}, fingerprint="large")
    return out


@pytest.fixture
def opened(browser, folder):
    "The page, once it is drawn, what it asked for, and what it complained of."
    page, asked, said = browser.new_page(viewport={"width": 1280, "height": 900}), [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("dialog", lambda d: (said.append(d.message), d.dismiss()))
    page.on("pageerror", lambda e: said.append(str(e)))
    page.goto((folder / "index.html").as_uri())
    page.wait_for_selector("article img")
    yield page, asked, said
    page.close()


def test_no_file_holds_all_and_no_picture_is_lost(folder):
    assert not (folder / "thumbs").exists() and len(list((folder / "gallery" / "thumbs").iterdir())) == 17
    (place,) = [p for p in (folder / "gallery").iterdir() if p.name != "thumbs"]
    assert len(list(place.glob("rows-*"))) == 3 and len(list(place.glob("details-*"))) == 7
    assert "broken.png" not in (folder / "index.html").read_text()


def test_the_first_cards_are_whole_and_the_rest_stays_on_the_disk(opened):
    page, asked, said = opened
    page.wait_for_function("document.querySelectorAll('article > img').length >= 59")
    assert names(page)[:3] == ["doubtful.png", HARM, "broken.png"]
    text = texts(page.locator("article"))
    assert "Undecided: a person decides" in text[0] and "stranger than 90 % of good parts" in text[1]
    assert "cannot be read" in text[2] and "no picture" in text[2]
    assert page.evaluate("document.querySelector('article img').decode().then(() => 'drawn')") == "drawn"
    assert sum("details-" in url for url in asked) < 7 and sum("/thumbs/" in url for url in asked) < 17
    assert not said and all(url.startswith(("file:", "data:")) for url in asked)


def test_nothing_runs_but_the_pages_own_scripts(opened):
    page, asked, said = opened
    tried = """word => new Promise(done => {
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        fetch('https://example.org').then(() => done('went out'), () => done('stayed'));
    })"""
    assert page.evaluate(tried, "") == "stayed" and page.evaluate("window.ran") is None
    assert not said and page.locator("article script, article b, article img[src=x]").count() == 0


def test_filters_orders_and_lists_know_all_rows(opened):
    page, _, said = opened
    assert page.inner_text("button[data-verdict=normal]") == f"normal {NUMBER - 3}"
    page.fill("#name", "b/255")
    assert names(page) == ["b/255.png"] and page.inner_text("#shown") == f"1 of {NUMBER} images"
    page.fill("#name", "")
    page.select_option("#sort", "name")
    assert saved(page, "#save-list")[1][1:][:2][1][0] == "/parts/a/000.png"
    assert len(saved(page, "#save-list")[1]) == NUMBER + 1
    page.select_option("#category", "pill")
    page.reload()
    page.wait_for_selector("article img")
    assert names(page) == ["doubtful.png"] and not said  # the address keeps them


def test_marks_reach_rows_that_were_never_drawn(opened):
    page, _, said = opened
    page.click("#groups button")
    page.fill("#groups input", "crumbled")
    page.click("#groups form button:not([type=button])")
    assert count(page).startswith(f"4 of {NUMBER}")
    page.click("#groups button")
    card_of(page, "doubtful.png").locator("button[data-mark=good]").click()
    page.reload()
    page.wait_for_selector("article img")
    rows = saved(page)[1]
    assert rows[1] == ["/parts/doubtful.png", "pill", "normal", ""] and len(rows) == 6
    page.click("#undo")
    page.click("#undo")
    assert "Is the machine right?" in count(page) and not said


def test_the_large_view_and_its_keys(opened):
    page, _, said = opened
    page.click("article >> nth=0")
    page.wait_for_selector("#heat[src^='data:image/jpeg']")
    for key in ("t", "2"):
        page.keyboard.press(key)
    assert "doubtful.png: defective, cut" in page.inner_text("#told")
    for _ in range(80):  # further than cards were drawn
        page.keyboard.press("ArrowRight")
    page.wait_for_selector("#heat[src^='data:image/jpeg']")
    page.locator("#about .bar").wait_for()
    page.keyboard.press("w")
    assert count(page).startswith("2 of") and len(saved_after_closing(page)) == 3 and not said


def test_what_is_shown_is_printed_to_its_end(opened):
    page, _, said = opened
    counted = "document.querySelectorAll('article > img').length"
    page.evaluate(f"() => {{ print = () => document.body.append(`printed ${{{counted}}}`) }}")
    page.keyboard.press("Control+p")
    page.get_by_text(f"printed {NUMBER - 1}").wait_for()  # one could not be read
    assert not said


def test_what_is_missing_is_said(browser, folder, tmp_path):
    (tmp_path / "index.html").write_bytes((folder / "index.html").read_bytes())
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_selector("#print")
    assert "Keep the folder gallery beside it" in page.inner_text("#key")


def test_images_that_are_added_come_in_packs_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "LIMIT", 3)
    lines, packs = lines_of(8), []
    for added in (lines[:5], lines[5:]):
        for one in added:
            place = (tmp_path / "thumbs" / one["name"]).with_suffix(".jpg")
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 90).save(place)
        write_gallery(cards_of(lines[: lines.index(added[-1]) + 1], tmp_path), tmp_path)
        packs.append({p.name: p.read_bytes() for p in (tmp_path / "gallery" / "thumbs").iterdir()})
    assert packs[0].items() < packs[1].items() and len(packs[1]) == 2
    assert not (tmp_path / "thumbs").exists() and len(list((tmp_path / "gallery").iterdir())) == 2
