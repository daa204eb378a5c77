"""The atlas page in a real browser: from disk, without a network, with 5 000 made-up points."""

import csv
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mvtec_xai.atlas import ATLAS, PAGE_MAPS, atlas_page, thumbnail
from mvtec_xai.blocks.languages import languages, texts, words_of

COUNT = 5000
CATEGORIES = {
    "nut": ["bent", "flip"],
    "pill <b>&": ["crack", 'a "quoted" <img src=x onerror=alert(1)>', "scratch"],
}


def made_up(count: int) -> tuple[pd.DataFrame, list[str]]:
    "Points on a grid, so that their places are known: no two lie on each other."
    rng = np.random.default_rng(0)
    category = np.array(list(CATEGORIES))[np.arange(count) % 2]
    defect = [CATEGORIES[c][k // 2 % len(CATEGORIES[c])] for k, c in enumerate(category)]
    points = pd.DataFrame({"category": category, "defect": defect})
    points["image_id"] = [
        f"{c}/test/{d}/{k:04d}" for k, (c, d) in enumerate(zip(category, defect, strict=True))
    ]
    ids = points.image_id.to_numpy()
    points["near"] = [[ids[(k + 2 * step) % count] for step in range(1, 6)] for k in range(count)]
    points["far"] = [[step / 8 for step in range(1, 6)]] * count
    for m in PAGE_MAPS:
        points[f"{m}_x"], points[f"{m}_y"] = (
            np.divmod(np.arange(count), 100) if m.startswith("all") else np.divmod(np.arange(count), 70)
        )
    spots = [np.full((192, 192, 3), rng.integers(0, 255, 3), np.uint8) for _ in range(50)]
    region = np.zeros((88, 88), bool)
    region[20:50, 30:60] = True
    pictures = [thumbnail(s, region) for s in spots]
    return points, [pictures[k % 50] for k in range(count)]


def write_page(folder: Path, count: int, language: str = "en") -> tuple[Path, pd.DataFrame, list[str]]:
    "A page in `folder`, its points and its pictures."
    file, (points, pictures) = folder / f"atlas_{language}.html", made_up(count)
    file.write_text(atlas_page(points, pictures, language), encoding="utf-8")
    return file, points, pictures


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    "The page, open; `page.asked` are the addresses that it asked for, `page.faults` what went wrong in it."
    file, points, pictures = write_page(tmp_path_factory.mktemp("atlas"), COUNT)
    page = browser.new_page(viewport={"width": 1400, "height": 850})
    page.set_default_timeout(60_000)
    page.asked, page.faults, page.points, page.pictures = [], [], points, pictures
    page.on("request", lambda r: page.asked.append(r.url))
    page.on("pageerror", lambda e: page.faults.append(str(e)))
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.on("dialog", lambda d: page.faults.append(d.message))
    began = time.perf_counter()
    page.goto(file.as_uri())
    page.locator("#map .points path").first.wait_for(state="attached")
    page.seconds = time.perf_counter() - began
    return page


@pytest.fixture
def page(opened):
    "The page as it is when it has just been opened."
    opened.evaluate("document.getElementById('map').focus()")
    opened.keyboard.press("Escape")
    opened.fill("#find", "")
    opened.click("#every")
    opened.select_option("#view", "")
    opened.check("[value=umap]")
    return opened


def marks(page) -> int:
    return page.locator("#map .points path").count()


def place_of(page, row: int) -> tuple[float, float]:
    "Where on the screen the mark of a row is, on the map that is shown."
    drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    page.evaluate(f"document.fonts.ready.then(() => {drawn})")  # nothing moves any more
    return page.evaluate(
        """row => { const gd = document.getElementById('map'), {xaxis, yaxis} = gd._fullLayout, box = gd.getBoundingClientRect();
        return [box.x + xaxis._offset + xaxis.l2p(spot(rows[row])[0]), box.y + yaxis._offset + yaxis.l2p(spot(rows[row])[1])] }""",
        row,
    )


def test_5000_points_open_from_disk_and_ask_nobody(page):
    assert marks(page) == COUNT
    assert page.seconds < 20, f"{page.seconds:.1f} s to open"
    assert [u for u in page.asked if not u.startswith(("file:", "data:", "blob:"))] == []
    assert sum(u.startswith("file:") for u in page.asked) == 1  # the page itself
    assert page.faults == []


def test_filters_reduce_what_is_shown(page):
    assert page.text_content("#shown") == f"{COUNT} of {COUNT} shown"
    page.get_by_label("nut", exact=True).get_by_role("checkbox").first.uncheck()
    assert marks(page) == COUNT // 2
    page.get_by_label("crack", exact=True).uncheck()
    left = page.points[(page.points.category != "nut") & (page.points.defect != "crack")]
    assert marks(page) == len(left) < COUNT // 2
    page.click("#none")
    assert marks(page) == 0
    page.click("#every")
    page.fill("#find", "PILL 004")
    found = page.points.image_id.str.contains("pill") & page.points.image_id.str.contains("004")
    assert marks(page) == found.sum() > 0
    page.fill("#find", "")
    page.select_option("#view", "nut")
    assert marks(page) == COUNT // 2
    assert page.locator("#types label").all_text_contents() == ["nut", *CATEGORIES["nut"]]


def test_pointer_shows_picture_and_neighbours(page):
    row = 2517
    page.mouse.move(*place_of(page, row))
    page.wait_for_selector("#big")
    assert page.get_attribute("#big", "src") == page.pictures[row]
    near = page.points.near[row]
    assert [b.get_attribute("title") for b in page.locator("#near button").all()] == near
    first = page.locator("#near button").first.inner_text()
    assert page.points.defect[row + 2] in first and "at 0.13" in first  # its type and its distance
    assert page.locator("#map .shapelayer path").count() == 1 + len(
        near
    )  # a ring, and lines to the neighbours
    detail = page.text_content("#detail")
    assert page.points.defect[row] in detail and page.points.image_id[row] in detail
    page.mouse.move(300, 845)
    page.wait_for_selector("#big", state="detached")
    page.mouse.click(*place_of(page, row))
    page.mouse.move(300, 845)
    assert page.points.image_id[row] in page.text_content("#detail")  # kept
    page.locator("#near button").first.click()
    assert near[0] in page.text_content("#detail")


def test_keyboard_goes_from_mark_to_mark(page):
    page.select_option("#view", "nut")
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    first = page.points.index[page.points.category == "nut"][0]
    assert page.points.image_id[first] in page.text_content("#detail")
    page.keyboard.press("ArrowRight")
    assert page.points.image_id[first + 70] in page.text_content("#detail")  # the next column of the grid
    page.keyboard.press("ArrowUp")
    assert page.points.image_id[first + 72] in page.text_content("#detail")
    page.keyboard.press("Escape")
    assert page.locator("#big").count() == 0


def test_names_stay_text(page):
    page.select_option("#view", "pill <b>&")
    assert 'a "quoted" <img src=x onerror=alert(1)>' in page.text_content("#types")
    assert page.locator("#types b, #types img").count() == 0
    page.check("[value=tsne]")
    page.mouse.move(*place_of(page, 3))
    page.wait_for_selector("#big")
    assert page.points.defect[3] in page.text_content("#detail h2") and page.locator("#detail b").count() == 0
    assert page.faults == []


def test_no_button_sends_the_chart_anywhere(opened):
    titles = [b.get_attribute("data-title") or "" for b in opened.locator(".modebar-btn").all()]
    assert len(titles) == 8 and not any("hare" in t or "loud" in t for t in titles)
    for button in opened.locator(".modebar-btn[data-title^='Zoom'], .modebar-btn[data-title^='Reset']").all():
        button.click()
    opened.locator(".modebar-btn[data-title='Pan']").click()
    assert all(url.startswith(("file:", "data:", "blob:")) for url in opened.asked)


def saved(page) -> list[dict]:
    "What the page saves as csv."
    with page.expect_download() as download:
        page.click("#save")
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def drag_box(page, row: int, other: int) -> None:
    "Draw a box around the places of two rows."
    page.locator(".modebar-btn[data-title='Box Select']").click()
    (x, y), (x1, y1) = place_of(page, row), place_of(page, other)
    page.mouse.move(min(x, x1) - 3, min(y, y1) - 3)
    page.mouse.down()
    page.mouse.move(max(x, x1) + 3, max(y, y1) + 3, steps=5)
    page.mouse.up()
    page.locator(".modebar-btn[data-title='Pan']").click()


def test_a_box_selects_a_list_that_is_saved(page):
    page.select_option("#view", "nut")
    drag_box(page, 2000, 2074)  # two columns of three marks of this category on the map's grid
    page.wait_for_selector("#chosen")
    ids = page.points.image_id[[2000, 2002, 2004, 2070, 2072, 2074]].tolist()
    assert [b.get_attribute("title") for b in page.locator("#chosen button").all()] == ids
    assert [row["image_id"] for row in saved(page)] == ids
    page.mouse.move(*place_of(page, 2500))
    page.wait_for_selector("#big")
    page.mouse.move(300, 845)
    page.wait_for_selector("#chosen")  # pointing elsewhere does not lose the selection
    page.click("#clear")
    assert page.locator("#chosen").count() == 0
    page.select_option("#view", "pill <b>&")
    page.fill("#find", "quoted 004")
    quoted = page.points[
        (page.points.defect.str.contains("quoted")) & page.points.image_id.str.contains("004")
    ]
    assert len(quoted) and saved(page) == quoted[["image_id", "category", "defect"]].to_dict("records")
    assert page.faults == []


def test_a_search_that_finds_nothing_says_so(page):
    page.fill("#find", "<b>zebra</b>")
    assert page.text_content("#shown") == "Nothing found for “<b>zebra</b>”."
    assert "look for another word" in page.locator("#map .annotation").text_content()
    assert page.locator("#save").is_disabled()


def test_the_address_names_an_image(page):
    row = 2401
    page.evaluate("id => { location.hash = encodeURIComponent(id) }", page.points.image_id[row])
    page.wait_for_selector("#big")
    assert page.get_attribute("#big", "src") == page.pictures[row]
    assert page.input_value("#view") == page.points.category[row]
    page.evaluate("() => { location.hash = '' }")


def test_pictures_are_shown_about_as_large_as_they_are(opened):
    sizes = opened.evaluate(
        """async row => { keep(rows[row]); await $('big').decode(); return [$('big').naturalWidth, $('big').width] }""",
        7,
    )
    assert sizes[0] >= 0.7 * sizes[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_use_the_page(browser, tmp_path, scheme, grave):
    file, _, _ = write_page(tmp_path, 20)
    page = browser.new_context(color_scheme=scheme).new_page()
    page.goto(file.as_uri())
    page.locator("#map .points path").first.wait_for(state="attached")
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#big")
    assert grave(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", languages())
def test_a_phone_shows_the_picture_of_what_is_tapped(browser, tmp_path, language, scheme):
    file, points, pictures = write_page(tmp_path, 20, language)
    screen = {"width": 390, "height": 844}
    page = browser.new_page(viewport=screen, has_touch=True, is_mobile=True, color_scheme=scheme)
    page.goto(file.as_uri())
    page.locator("#map .points path").first.wait_for(state="attached")
    assert page.get_attribute("html", "lang") == language
    assert page.title() == texts("atlas", ATLAS, language)["title"]
    assert not page.locator("#types").is_visible()  # the legend waits to be asked for
    page.touchscreen.tap(*place_of(page, 7))
    box = page.locator("#big").bounding_box()
    assert box["width"] > 100 and box["y"] >= 0 and box["y"] + box["height"] <= screen["height"]
    assert page.get_attribute("#big", "src") == pictures[7]
    assert page.evaluate("document.documentElement.scrollWidth") == screen["width"]
    page.locator("summary").tap()
    assert page.locator("#types").is_visible()
    dark = sum(
        map(int, page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(","))
    )
    assert (dark < 200) == (scheme == "dark")
    page.close()


def test_every_word_is_in_the_language_of_the_page(browser, tmp_path):
    file, *_ = write_page(tmp_path, 100, "es")
    page = browser.new_page()
    page.goto(file.as_uri())
    titles = {b.get_attribute("data-title") for b in page.locator(".modebar-btn").all()}
    assert titles == set(words_of("plotly", "es").values())
    spanish = texts("atlas", ATLAS, "es")
    english = {t for k, t in ATLAS.items() if "{" not in t and t != spanish[k]}
    told = {text.strip() for text in page.locator("body").inner_text().split("\n")}
    assert not told & english
    page.close()
