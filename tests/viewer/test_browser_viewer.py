# SPDX-License-Identifier: MIT
"""The page in a real browser: every panel, the numbers against `sparsetrace export`, hostile text, damaged data.

Times are printed, not asserted. ST_VIEW_SHOTS=DIR keeps pictures of the panels there.
"""

import base64
import csv
import io
import json
import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from made_trace import make_trace, reasoning
from playwright.sync_api import sync_playwright

CLI = os.environ["ST_CLI"]
N_TOK, BQ, BK, HEADS, LAYERS = 2000, 32, 16, 3, (0, 1, 3)
NEEDLE = (1, 2, 40, 0.875)
HOSTILE = [
    b"</script><script>window.hacked=1</script>",
    b"<img src=x onerror=window.hacked=1>",
    "\u202eRTL \u05e9\u05dc\u05d5\u05dd".encode(),
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467".encode(),
    b"nul\x00nul",
    b"\xff\xfe broken",
    "\u2028line".encode(),
    b"\x1b[31mred",
    "\u00e9"[:1].encode()[:1],
    "\u00e9".encode()[1:],
    b"&amp;<b>",
    b"\r\n\t",
    b"]]>--><!--",
]

# Hovers over 20 tokens, one after the other; milliseconds until each is answered, rising.
HOVER = """async () => {
    const times = [];
    const selected = document.getElementById('selected');
    for (const token of [...document.querySelectorAll('bdi')].slice(60, 80)) {
        const [start, before] = [performance.now(), selected.textContent];
        token.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));
        while (selected.textContent === before && performance.now() - start < 2000)
            await new Promise((done) => requestAnimationFrame(done));
        times.push(performance.now() - start);
    }
    return times.sort((a, b) => a - b);
}"""


@pytest.fixture(scope="module")
def browser():
    options = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=os.environ["ST_CHROMIUM"], args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    pages = []

    def go(url, ready="html[data-ready]", size=(1500, 950), **options):
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, accept_downloads=True, **options)
        page.complaints = []
        page.on("console", lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: page.complaints.append(str(e)))
        page.on(
            "request",
            lambda r: (
                page.complaints.append(r.url)
                if not r.url.startswith((url.split("#")[0], "blob:", "data:", "http://127.0.0.1"))
                else None
            ),
        )
        page.goto(str(url))
        page.wait_for_selector(ready, state="attached", timeout=60000)
        pages.append(page)
        return page

    yield go
    complaints = [c for page in pages for c in page.complaints]
    for page in pages:
        page.close()
    assert complaints == []


def shot(page, name):
    if "ST_VIEW_SHOTS" in os.environ:
        page.wait_for_timeout(400)
        page.screenshot(path=os.path.join(os.environ["ST_VIEW_SHOTS"], f"{name}.png"))


def write(trace, page, *options):
    subprocess.run([CLI, "view", trace, "-o", page, *options], check=True, capture_output=True)
    return f"file://{page}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    words = [f" word{i}" for i in range(N_TOK)]
    words[NEEDLE[2] * BK + 3] = " haystack-needle-7071."
    make_trace(folder / "t.trace", N_TOK, LAYERS, HEADS, BQ, BK, pieces=[w.encode() for w in words], needle=NEEDLE)
    return folder / "t.trace", write(folder / "t.trace", folder / "t.html")


@pytest.fixture(scope="module")
def server(made):
    process = subprocess.Popen([CLI, "view", made[0], "--serve", "0"], stdout=subprocess.PIPE, text=True)
    yield re.search(r"http://\S+/", process.stdout.readline()).group()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0


@pytest.fixture(params=["embedded", "served"])
def url(request, made):
    return made[1] if request.param == "embedded" else request.getfixturevalue("server")


def exported(trace, *options):
    out = subprocess.run(
        [CLI, "export", trace, "--format", "csv", *options], check=True, capture_output=True, text=True
    ).stdout
    return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(io.StringIO(out))]


def shown(page, name):
    """{block: share} of a list of the page."""
    items = page.locator(f"#{name} li[data-block]").all()
    return {int(i.get_attribute("data-block")): float(i.get_attribute("data-share")) for i in items}


def settle(page):
    page.wait_for_timeout(200)


# ---- the panels --------------------------------------------------------------------------------------------------


def test_certificate(open_page, url):
    page = open_page(url)
    text = page.locator("header").inner_text()
    assert "NEXT TOKEN KEPT" in text and "made of nothing" in text and "sha256 abababababab" in text
    assert f"{HEADS * 3 * N_TOK * (N_TOK + 1) // 2:,} causal pairs" in text and "93.75" in text
    assert page.locator("#verdict").get_attribute("class") == "good"


@pytest.mark.parametrize(
    "agree, complete, words, level",
    [
        (False, True, "NOT FAITHFUL", "bad"),
        (None, True, "NOT COMPARED", "doubt"),
        ("floor", True, "WITHIN THE NOISE FLOOR", "doubt"),
        (True, False, "INCOMPLETE", "bad"),
    ],
)
def test_not_faithful_says_so(open_page, tmp_path, agree, complete, words, level):
    make_trace(tmp_path / "t.trace", 256, agree=agree, complete=complete)
    page = open_page(write(tmp_path / "t.trace", tmp_path / "t.html"))
    assert words in page.locator("#verdict").inner_text()
    assert page.locator("#verdict").get_attribute("class") == level
    good = open_page(write(tmp_path / "t.trace", tmp_path / "t.html") + "#theme=dark")
    ground = "getComputedStyle(document.getElementById('verdict')).backgroundColor"
    assert good.evaluate(ground) != "rgba(0, 0, 0, 0)"


def test_overview(open_page, url):
    page = open_page(url)
    assert page.locator(".tile").count() == 9
    assert (
        page.locator('.tile[data-head="1.2"]').get_attribute("aria-label") == "layer 1 head 2, needle mass 87.5\u2009%"
    )
    for measure in ("recall", "sink", "window", "far", "entropy", "kurtosis", "needle"):
        page.select_option("#measure", measure)
        assert re.search(
            r"layer 0 head 0, .* [\d.]+", page.locator('.tile[data-head="0.0"]').get_attribute("aria-label")
        )
    page.select_option("#sort", "most")
    assert page.locator(".tile").first.get_attribute("data-head") == "1.2"
    page.fill("#least", "0.5")
    assert page.locator(".tile:visible").count() == 1
    page.fill("#least", "")
    page.select_option("#sort", "layer")
    page.locator('.tile[data-head="3.1"]').click()
    settle(page)
    assert "L3.H1" in page.locator("#map-title").inner_text()
    shot(page, "heads")


def test_keyboard_reaches_the_heads(open_page, url):
    page = open_page(url)
    page.locator(".tile[tabindex='0']").focus()
    for key in ("Home", "ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    settle(page)
    assert "L1.H1" in page.locator("#map-title").inner_text()
    page.locator("#map").focus()
    for key in ("+", "+", "ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    settle(page)
    assert "zoom=" in page.url and "sel=" in page.url
    page.keyboard.press("0")
    settle(page)
    assert "zoom=" not in page.url


def test_reads_are_those_of_export(open_page, url, made):
    page = open_page(f"{url}#sel=1280-1312")
    settle(page)
    rows = exported(made[0], "--rows", "1280:1312")
    want = {}
    for r in rows:
        want[int(r["key_block"])] = want.get(int(r["key_block"]), 0) + r["mass"] / 9
    got = shown(page, "reads")
    assert len(got) == 14
    assert sorted(got.values(), reverse=True) == pytest.approx(sorted(want.values(), reverse=True)[:14], abs=1e-6)
    for block, share in got.items():
        assert share == pytest.approx(want[block], abs=1e-6)
    strongest = max((r for r in rows if r["key_block"] == 0), key=lambda r: r["mass"])
    assert (
        page.locator('#reads li[data-block="0"] .who')
        .inner_text()
        .startswith(f"L{strongest['layer']:.0f}.H{strongest['head']:.0f}")
    )


def test_readers_are_those_of_export(open_page, url, made):
    page = open_page(f"{url}#sel=640-656,700-701&with=1.2,3.0")
    settle(page)
    want = {}
    for r in exported(made[0]):
        if (r["layer"], r["head"]) in ((1, 2), (3, 0)) and r["key_block"] in (40, 43):
            want[int(r["query_block"])] = want.get(int(r["query_block"]), 0) + r["mass"] / 2
    got = shown(page, "readers")
    assert len(got) == min(14, len(want))
    for block, share in got.items():
        assert share == pytest.approx(want[block], abs=1e-6)
    assert (N_TOK - 1) // BQ in got


def test_needle_text_and_search(open_page, url):
    page = open_page(url)
    page.click("#needle")
    settle(page)
    first = page.locator("#selected").inner_text()
    page.click("#needle")
    settle(page)
    assert "needle 2 of" in page.locator("#needle").inner_text() and page.locator("#selected").inner_text() != first
    for _ in range(int(page.locator("#needle").inner_text().split()[-1]) - 1):
        page.click("#needle")
        settle(page)
    assert page.locator("#selected").inner_text() == first and "needle 1 of" in page.locator("#needle").inner_text()
    assert f"tokens {NEEDLE[2] * BK}\u2013{NEEDLE[2] * BK + BK - 1}" in page.locator("#selected").inner_text()
    assert page.locator("bdi.selected").count() == BK
    assert page.locator("bdi.selected", has_text="haystack-needle-7071").is_visible()
    page.click("#unselect")
    page.fill("#find", "NEEDLE-7071")
    assert page.locator("#found").inner_text() == "1 found"
    page.keyboard.press("Enter")
    settle(page)
    assert f"token {NEEDLE[2] * BK + 3}" in page.locator("#selected").inner_text()
    assert page.locator("bdi.found").count() == 1
    for unit, n in (("token", 1), ("word", 1), ("block", BK)):
        page.select_option("#unit", unit)
        page.locator(f'bdi[data-token="{NEEDLE[2] * BK + 3}"]').click()
        settle(page)
        assert page.locator("bdi.selected").count() == n
    page.locator(f'bdi[data-token="{NEEDLE[2] * BK + 20}"]').click(modifiers=["Control"])
    settle(page)
    assert " + " in page.locator("#selected").inner_text()
    shot(page, "text")


def test_hover_answers(open_page, url):
    page = open_page(url)
    page.locator('bdi[data-token="40"]').hover()
    settle(page)
    assert "under the pointer: token 40" in page.locator("#selected").inner_text()
    assert (
        page.locator('bdi[data-token="0"]').evaluate("e => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)"
    )
    took = page.evaluate(HOVER)
    print(f"\nhover, {N_TOK} tokens: median {took[10]:.0f} ms, worst {took[-1]:.0f} ms")


def test_map_zooms_and_tells(open_page, url):
    page = open_page(f"{url}#head=1.2")
    box = page.locator("#map").bounding_box()
    x = box["x"] + 74 + (box["width"] - 84) * (NEEDLE[2] + 0.5) * BK / N_TOK
    page.mouse.move(x, box["y"] + box["height"] - 41)
    facts = page.locator("#map-facts")
    facts.filter(has_text="read 87.5").wait_for()  # also where the pointer was there before the rows
    told = facts.inner_text()
    assert "keys 640\u2013655" in told
    page.evaluate("location.hash = 'head=0.0'")
    page.locator("#map-title").filter(has_text="L0.H0").wait_for()
    assert facts.inner_text() != told, "what another head reads, though the pointer rests"
    page.evaluate("location.hash = 'head=1.2'")
    facts.filter(has_text="read 87.5").wait_for()
    page.mouse.wheel(0, -400)
    settle(page)
    zoomed = page.url
    assert "zoom=" in zoomed
    page.mouse.down()
    page.mouse.move(x - 60, box["y"] + box["height"] - 90, steps=4)
    page.mouse.up()
    settle(page)
    assert page.url != zoomed and "sel=" not in page.url
    page.click("#zoom-all")
    page.mouse.click(x, box["y"] + 100)
    settle(page)
    assert "sel=" in page.url
    shot(page, "map")


def test_routes(open_page, url):
    page = open_page(f"{url}#sel=640-656&panel=routes&edge=0.05")
    page.wait_for_selector("#routes li")
    first = page.locator("#routes li").first.inner_text()
    assert "87.5" in first and "L1.H2" in first and first.strip().endswith(str((N_TOK - 1) // BK * BK))
    page.locator("#routes li button").first.click()
    assert "L1.H2" in page.locator("#routes-state").inner_text()
    assert page.locator("#routes-picture line.hop").count() >= 1
    shot(page, "routes")


ROUTE = {
    "from": {"begin": 640, "end": 656, "text": "x"},
    "to": {"begin": 1999, "end": 2000, "text": "</script>"},
    "flow": 0.5,
    "routes": [
        {
            "weight": 0.25,
            "hops": [
                {
                    "layer": layer,
                    "head": 2,
                    "query": {"begin": at + 16, "end": at + 32},
                    "key": {"begin": at, "end": at + 16},
                    "mass": mass,
                    **({"proof": proof} if proof else {}),
                }
                for layer, at, mass, proof in (
                    (1, 640, 0.875, {"necessary": True, "sufficient": True, "causal": True}),
                    (3, 656, 0.5, {"necessary": False, "sufficient": False, "causal": False}),
                )
            ],
        },
        {"weight": 0.125, "hops": []},
        {"weight": 0.0625, "hops": [{"layer": 0, "head": 0, "query": {"begin": 1999, "end": 2000},
                                     "key": {"begin": 640, "end": 656}, "mass": 0.0625}]},
    ],
}  # fmt: skip


def test_routes_of_a_file(open_page, made, tmp_path):
    (tmp_path / "routes.json").write_text(json.dumps(ROUTE) + "\n" + json.dumps(ROUTE | {"flow": 0.25}) + "\n")
    url = write(made[0], tmp_path / "t.html", "--routes", tmp_path / "routes.json")
    page = open_page(f"{url}#panel=routes")
    page.wait_for_selector("#routes li")
    assert "tokens 640\u2013655 to token 1999" in page.locator("#routes-ends").inner_text()
    assert page.locator("#routes li").count() == 2  # one has no hop
    assert page.locator(".hop-button").all_inner_texts() == [
        "\u2713 L1.H2 87.5\u2009% \u2192 656",
        "\u2715 L3.H2 50.0\u2009% \u2192 672",
        "L0.H0 6.25\u2009% \u2192 1999",
    ]
    dashed = page.locator("#routes-picture line.hop[stroke-dasharray]")
    assert page.locator("#routes-picture line.hop").count() == 3 and dashed.count() == 1
    dashed.dispatch_event("click")
    told = page.locator("#routes-state").inner_text()
    assert "L3.H2 50.0" in told and "refuted" in told and "read tokens 656\u2013671" in told
    shot(page, "routes_file")
    page.evaluate("location.hash = '#panel=routes&edge=0.1'")
    settle(page)
    assert page.locator("#routes li").count() == 1
    assert "1 routes have a lighter hop" in page.locator("#routes-state").inner_text()
    page.select_option("#routes-of", "1")
    settle(page)
    assert "flow 25.0" in page.locator("#routes-ends").inner_text() and "routes=1" in page.url
    page.select_option("#routes-of", "found")
    settle(page)
    assert "select in the text" in page.locator("#routes-ends").inner_text()


@pytest.mark.parametrize(
    "option, text, words",
    [
        ("--routes", "{broken", "not JSON"),
        ("--routes", "{}", "no list of routes"),
        ("--routes", json.dumps(ROUTE | {"from": {"begin": 5, "end": 99999}}), "from is no span of tokens"),
        ("--routes", json.dumps(ROUTE | {"routes": [{"weight": "x", "hops": []}]}), "routes[0].weight is no share"),
        ("--reason", '{"sentences": 3}', "no list of sentences"),
    ],
)
def test_bad_documents_are_explained(open_page, made, tmp_path, option, text, words):
    (tmp_path / "bad.json").write_text(text)
    page = open_page(write(made[0], tmp_path / "t.html", option, tmp_path / "bad.json"), ready="#trouble.explained")
    assert words in page.locator("#trouble-why").inner_text()


# ---- reasoning ---------------------------------------------------------------------------------------------------

SPANS = [(i * 80 + 3, i * 80 + 75) for i in range(24)]


@pytest.fixture(scope="module")
def reasoned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reason")
    tensors = make_trace(folder / "t.trace", N_TOK, LAYERS, HEADS, BQ, BK, spans=SPANS, document=True)
    return folder / "t.trace", tensors, write(folder / "t.trace", folder / "t.html")


def test_reasoning(open_page, reasoned):
    page = open_page(f"{reasoned[2]}#panel=reason")
    settle(page)
    assert page.locator("#sentences li").count() == len(SPANS)
    assert page.evaluate("document.querySelectorAll('#sentences b').length") == 0
    assert "anchor" in page.locator('[data-sentence="5"] .notes').inner_text()
    assert page.locator('[data-sentence="7"] .notes').inner_text() == "dead end"
    rows = page.locator("#quality tr").all_inner_texts()
    assert rows[0].split("\t")[:2] == ["sentences", "24"] and any(r.startswith("checking\t25\u2009%") for r in rows)
    assert not any(r.startswith("score") for r in rows)
    page.locator('[data-sentence="9"]').click()
    settle(page)
    assert f"sel={SPANS[9][0]}-{SPANS[9][1]}" in page.url
    assert page.locator('[data-sentence="9"]').get_attribute("aria-current") == "true"
    page.locator("#strips").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert f"sel={SPANS[10][0]}-{SPANS[10][1]}" in page.url
    assert "sentence 10, active computation" in page.locator("#reason-facts").inner_text()
    shot(page, "reason")
    page.evaluate(f"location.hash = '#panel=reason&sel={SPANS[2][0] + 5}-{SPANS[2][0] + 6}'")
    settle(page)
    assert page.locator('[data-sentence="2"]').get_attribute("aria-current") == "true"


def test_matrix_tells_the_mean_over_receiver_heads(open_page, reasoned):
    trace, tensors, url = reasoned
    page = open_page(f"{url}#panel=reason")
    settle(page)
    box = page.locator("#matrix").bounding_box()
    side = min(box["width"] - 44 - 6, box["height"] - 4 - 34)
    n, i, j = len(SPANS), 20, 6
    x, y = 44 + side * (j + 0.5) / n, 4 + side * (i + 0.5) / n
    page.mouse.move(box["x"] + x, box["y"] + y)
    told = page.locator("#reason-facts").inner_text()
    found = re.match(r"20 .*reads 6 .*: ([\d.e-]+) a token", told)
    cell = i * (i + 1) // 2 + j
    want = np.mean([tensors[f"layer.{layer}.group_mean"].reshape(HEADS, -1)[:, cell] for layer in LAYERS])
    assert float(found.group(1)) == pytest.approx(want, rel=5e-3)
    page.mouse.click(box["x"] + x, box["y"] + y)
    settle(page)
    assert page.locator('[data-sentence="20"]').get_attribute("aria-current") == "true"


def test_matrix_by_keys_of_a_served_trace(open_page, reasoned):
    process = subprocess.Popen([CLI, "view", reasoned[0], "--serve", "0"], stdout=subprocess.PIPE, text=True)
    page = open_page(re.search(r"http://\S+/", process.stdout.readline()).group() + "#panel=reason")
    settle(page)
    page.locator("#matrix").focus()
    for key in ("ArrowUp", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator("#reason-facts").inner_text().startswith("22 ")
    page.keyboard.press("Shift+Enter")
    settle(page)
    assert page.locator('[data-sentence="2"]').get_attribute("aria-current") == "true"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0


def test_two_traces_are_compared(open_page, reasoned, tmp_path):
    other = reasoning(SPANS[:10]) | {"id": "the other"}
    (tmp_path / "other.json").write_text(json.dumps(other))
    page = open_page(write(reasoned[0], tmp_path / "t.html", "--reason", tmp_path / "other.json") + "#panel=reason")
    settle(page)
    assert page.locator("#quality tr").first.inner_text().split("\t") == ["", "made", "the other", ""]
    page.select_option("#reason-of", "1")
    assert page.locator("#sentences li").count() == 10
    page.locator('[data-sentence="3"]').click()
    settle(page)
    assert "sel=" not in page.url  # its tokens are of another text
    assert "sentence 3" in page.locator("#reason-facts").inner_text()


def test_a_trace_without_sentences_says_so(open_page, url):
    page = open_page(f"{url}#panel=reason")
    assert "no sentences" in page.locator("#reason-panel").inner_text()


# ---- state, pictures, names --------------------------------------------------------------------------------------


def test_state_is_in_the_address(open_page, url):
    page = open_page(f"{url}#head=3.1&measure=far&sort=most&panel=routes&theme=dark&sel=100-120&unit=word")
    settle(page)
    assert page.locator("#measure").input_value() == "far" and page.locator("#sort").input_value() == "most"
    assert page.locator("#unit").input_value() == "word" and page.locator("#routes-panel").is_visible()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert "tokens 100\u2013119" in page.locator("#selected").inner_text()
    odd = open_page(f"{url}#head=99.99&measure=far&sel=5-1,x,999999-9999999&zoom=9-1-1-1&from=zz&at=-5&with=7.7")
    assert odd.locator("#verdict").is_visible()
    shot(page, "dark")


@pytest.mark.parametrize("panel", ["heads", "map", "routes", "text", "reason", "matrix"])
def test_pictures(open_page, reasoned, panel):
    tab = {"routes": "routes", "reason": "reason", "matrix": "reason"}.get(panel, "map")
    page = open_page(f"{reasoned[2]}#sel=640-656&panel={tab}")
    settle(page)
    for kind, magic in (("png", b"\x89PNG"), ("svg", b"<svg")):
        with page.expect_download() as waiting:
            page.click(f'[data-save="{panel} {kind}"]')
        content = open(waiting.value.path(), "rb").read()
        assert content.startswith(magic) and len(content) > 1000
        assert waiting.value.suggested_filename == f"sparsetrace-{panel}.{kind}"


def test_controls_have_names(open_page, made):
    page = open_page(made[1])
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, select, input, canvas[tabindex], [role=application]')]
        .filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') || e.title || e.labels?.length))
        .map((e) => e.outerHTML)""")
    assert nameless == []


def test_golden_trace(open_page):
    """The page's own reader on the file that opens for ever: gaps in the layers, partial blocks, heads that differ."""
    data = os.path.join(os.environ["ST_SOURCE_DIR"], "tests/golden/trace_v1/data")
    with open(os.path.join(data, "trace.csv"), encoding="ascii") as f:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(f)]
    process = subprocess.Popen(
        [CLI, "view", os.path.join(data, "trace.safetensors"), "--serve", "0"], stdout=subprocess.PIPE, text=True
    )
    page = open_page(re.search(r"http://\S+/", process.stdout.readline()).group())
    for head in ("0.0", "1.2", "3.0"):
        page.locator(f'.tile[data-head="{head}"]').click(modifiers=["Control"])
        settle(page)
        layer, number = map(int, head.split("."))
        for block in range(7):
            page.evaluate(f"location.hash = '#with={head}&sel={block * 8}-{block * 8 + 1}'")
            settle(page)
            want = {
                int(r["key_block"]): r["mass"]
                for r in rows
                if (r["layer"], r["head"], r["query_block"]) == (layer, number, block) and r["mass"] > 0
            }
            got = shown(page, "reads")
            assert got.keys() <= want.keys() and len(got) == min(14, len(want))
            assert all(x == pytest.approx(want[c], abs=1e-7) for c, x in got.items())
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0


# ---- hostile and damaged -----------------------------------------------------------------------------------------


def test_hostile_text(open_page, tmp_path):
    pieces = [HOSTILE[i % len(HOSTILE)] for i in range(256)]
    pieces[100] = b"<script>" + b"y" * 10_000_000
    make_trace(tmp_path / "t.trace", 256, pieces=pieces)
    page = open_page(write(tmp_path / "t.trace", tmp_path / "t.html", "--max-bytes", "30000000"))
    settle(page)
    assert page.evaluate("window.hacked") is None
    text = page.locator("#sheet").inner_text()
    assert (
        "</script><script>window.hacked=1</script>" in text and "nul\u2400nul" in text and "\u27e8202E\u27e9RTL" in text
    )
    assert "\U0001f600" in text and "\ufffd" in text and "\u241b[31mred" in text and "\u00e9" in text
    page.goto(page.url + "#sel=100-101&at=100")
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    settle(page)
    assert "(10,000,008 bytes)" in page.locator("#sheet").inner_text()
    assert page.evaluate("document.querySelectorAll('#sheet script, #sheet img').length") == 0
    page.fill("#find", "window.hacked")
    assert re.fullmatch(r"\d+ found", page.locator("#found").inner_text())
    shot(page, "hostile")


@pytest.mark.parametrize(
    "spoil, words",
    [("cut", "cut off"), ("foreign", "not a trace"), ("empty", "no header"), ("format", "its format is")],
)
def test_damaged_data_is_explained(open_page, made, tmp_path, spoil, words):
    html = open(made[1].removeprefix("file://"), encoding="utf-8").read()
    data = base64.b64decode(re.search(r'id="data">([^<]*)</script>', html).group(1))
    bad = {
        "cut": data[: len(data) // 2],
        "foreign": b"\x7fELF" + bytes(4000)[:-3] + b"\xff" * 99,
        "empty": b"",
        "format": data.replace(b'"sparsetrace.view"', b'"somebody.else.12"'),
    }[spoil]
    if spoil == "foreign":
        bad = b"\xff" * 4096
    page_file = tmp_path / "bad.html"
    page_file.write_text(
        re.sub(r'(id="data">)[^<]*', lambda m: m.group(1) + base64.b64encode(bad).decode(), html), encoding="utf-8"
    )
    page = open_page(f"file://{page_file}", ready="#trouble.explained")
    assert words in page.locator("#trouble-why").inner_text()
    assert not page.locator("#page").is_visible()


def test_page_that_was_cut_off(open_page, made, tmp_path):
    html = open(made[1].removeprefix("file://"), "rb").read()
    for share in (0.3, 0.6, 0.95):
        (tmp_path / "cut.html").write_bytes(html[: int(share * len(html))])
        page = open_page(f"file://{tmp_path}/cut.html", ready="#trouble")
        assert "cut off" in page.locator("#trouble").inner_text()
        assert not page.locator("#page").is_visible()


# ---- a large one -------------------------------------------------------------------------------------------------


def test_large_trace(open_page, tmp_path):
    """131,072 tokens, 30 layers of 9 heads: opens, scrolls, answers. Times are for the reader."""
    n_tok = 131072
    make_trace(tmp_path / "t.trace", n_tok, range(30), 9, BQ, BK, needle=(7, 7, 3000, 1.0))
    start = time.time()
    address = write(tmp_path / "t.trace", tmp_path / "t.html")
    made_in = time.time() - start
    assert os.path.getsize(tmp_path / "t.html") <= 20_000_000
    start = time.time()
    page = open_page(address)
    page.wait_for_selector(".tile.open")
    opened_in = time.time() - start
    assert page.locator(".tile").count() == 270
    assert "Left out of this file" in page.locator("#left-out").inner_text()
    page.click("#needle")
    page.wait_for_selector("bdi.selected")
    assert "L7.H7" in page.locator("#map-title").inner_text()
    page.click("#unselect")
    took = page.evaluate(HOVER)
    for share in (0.25, 0.5, 1):
        page.evaluate(
            f"() => {{ const box = document.getElementById('text'); box.scrollTop = box.scrollHeight * {share}; }}"
        )
        settle(page)
        assert page.locator("bdi").count() > 50
    assert page.locator(f'bdi[data-token="{n_tok - 1}"]').count() == 1
    print(
        f"\n{n_tok} tokens x 270 heads: page made in {made_in:.1f} s, opened in {opened_in:.1f} s, hover median {took[10]:.0f} ms, worst {took[-1]:.0f} ms"
    )
    shot(page, "large")
    process = subprocess.Popen([CLI, "view", tmp_path / "t.trace", "--serve", "0"], stdout=subprocess.PIPE, text=True)
    address = re.search(r"http://\S+/", process.stdout.readline()).group()
    start = time.time()
    served = open_page(address)
    served.wait_for_selector(".tile.open")
    print(f"served: opened in {time.time() - start:.1f} s")
    served.click("#needle")
    served.wait_for_selector("bdi.selected")
    settle(served)
    assert f"tokens {3000 * BK}\u2013{3000 * BK + BK - 1}" in served.locator("#selected").inner_text()
    assert (n_tok - 1) // BQ in shown(served, "readers") or len(shown(served, "readers")) == 14
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
