"""The question box on a shop's page: a real browser, a page of another origin, and a server that allows that one."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.servers.local import HttpReply, LocalServer
from tests.serving.conftest import PATIENCE, Served, copied_run, serving
from tests.tabs.conftest import browser  # noqa: F401

expect.set_options(timeout=PATIENCE * 1000)

POLICY = (
    "default-src 'none'; img-src data:; style-src 'self'; script-src {server}; connect-src {server}; "
    "require-trusted-types-for 'script'"
)
"""What a careful shop allows: neither styles in the page nor scripts of others."""

PAGES = {
    "/lamp": "<h1>Harrow Lane Lamp</h1>",
    "/teapot": '<meta property="og:title" content="Pell &amp; Daughter Teapot"><h1>Our shop</h1>',
    "/atlas": '<h1>Our shop</h1><main data-shelftalk-product="T3">Maps</main>',
    "/kite": "<h1>Brindlewick Kite</h1>",
}


class Shop(LocalServer):
    """A shop's pages, with the box's one line on each."""

    server = ""

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> HttpReply:
        page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A shop</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"></head><body>{PAGES.get(path, "")}
<script src="{self.server}/embed.js" defer></script></body></html>"""
        policy = POLICY.format(server=self.server)
        return HttpReply(200, page.encode(), {"content-type": "text/html", "content-security-policy": policy})


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with Shop() as started:
        yield started


@pytest.fixture(scope="module")
def server(shop: Shop, finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    run = copied_run(finished_run, tmp_path_factory.mktemp("embedded") / "home")
    with serving(run, "--origin", shop.origin) as started:
        shop.server = started.origin
        yield started


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:  # noqa: F811
    made = browser.new_context(viewport={"width": 360, "height": 640})
    made.set_default_timeout(PATIENCE * 1000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, shop: Shop, server: Served) -> Iterator[Page]:
    """A page that may ask nobody but its shop and the server, and that breaks no rule of its shop."""
    opened, asked, said = context.new_page(), [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    yield opened
    strangers = [url for url in asked if not url.startswith((f"{shop.origin}/", f"{server.origin}/", "data:"))]
    assert not strangers and not [text for text in said if "Content Security Policy" in text or "TrustedHTML" in text]


def ask(page: Page, question: str) -> None:
    """Ask as somebody does who has no mouse."""
    page.keyboard.type(question)
    page.keyboard.press("Enter")


def test_the_box_knows_the_page_s_product_and_says_where_its_answer_is_from(page: Page, shop: Shop) -> None:
    for path, question, answer, source in (
        ("/lamp", "what does it weigh", "2 pounds.", "It weighs 2 pounds."),
        ("/teapot", "what colour is it", "Pale green.", "Colour: pale green"),
        ("/atlas", "who wrote it", "Ilse Kamprad.", "Written by Ilse Kamprad."),
    ):
        page.goto(f"{shop.origin}{path}")
        page.get_by_role("button", name="Ask a question").click()
        ask(page, question)
        told = page.locator(".told[data-state=done]")
        expect(told).to_have_attribute("data-says", "value")
        expect(told.locator("p").first).to_have_text(answer)
        expect(told.locator("blockquote")).to_have_text(source)


def test_it_says_so_where_the_record_is_silent_or_the_product_is_another(page: Page, shop: Shop) -> None:
    page.goto(f"{shop.origin}/kite")
    page.get_by_role("button", name="Ask a question").click()
    told = page.locator(".told[data-state=done]")
    ask(page, "what does it weigh")
    expect(told).to_have_attribute("data-says", "silent")
    expect(told).to_contain_text("please ask the shop")
    expect(page.locator("form button")).to_be_enabled()
    ask(page, "How many pages does The Salt Road Atlas have?")
    expect(told).to_have_count(2)
    expect(told.nth(1)).to_contain_text("About: The Salt Road Atlas")


def test_it_is_used_by_keyboard_and_found_by_a_screen_reader(page: Page, shop: Shop) -> None:
    page.goto(f"{shop.origin}/lamp")
    button = page.get_by_role("button", name="Ask a question")
    expect(button).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Tab")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Ask a question")).to_be_visible()
    expect(page.get_by_role("textbox", name="Your question")).to_be_focused()
    expect(page.get_by_role("log", name="Questions and answers")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    ask(page, "<img src=x onerror=alert(1)> what does it weigh")
    expect(page.locator(".told[data-state=done]")).to_have_attribute("data-says", "value")
    expect(page.locator(".asked img")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_its_words_can_be_read(
    page: Page, shop: Shop, scheme: str, request: pytest.FixtureRequest
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(f"{shop.origin}/lamp")
    page.get_by_role("button", name="Ask a question").click()
    ask(page, "what does it weigh and how is it that " + "w" * 300)
    told = page.locator(".told[data-state=done]")
    expect(told).to_be_visible()
    box = page.locator("#box").bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["height"] <= 640
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for place in (".told p", ".asked", "form button", "h2", "input"):
        assert contrast(page, place) >= 4.5, f"{place} cannot be read"


def contrast(page: Page, place: str) -> float:
    """The contrast of a text and what lies behind it, as WCAG 2.2 has it."""
    return page.locator(place).first.evaluate("""element => {
        const numbers = color => color.match(/[\\d.]+/g).map(Number)
        let behind = element
        while (numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement
        const light = color => {
            const [r, g, b] = numbers(color).map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            return 0.2126 * r + 0.7152 * g + 0.0722 * b
        }
        const [a, b] = [light(getComputedStyle(element).color), light(getComputedStyle(behind).backgroundColor)]
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
    }""")


def test_a_page_that_is_not_allowed_gets_no_answer_and_its_owner_a_hint(
    context: BrowserContext, server: Served
) -> None:
    with Shop() as other:
        other.server = server.origin
        page, said = context.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{other.origin}/lamp")
        page.get_by_role("button", name="Ask a question").click()
        ask(page, "what does it weigh")
        expect(page.locator(".told[data-state=done]")).to_contain_text("Nobody can answer just now")
        assert any(f"--origin {other.origin}" in text for text in said)


def test_too_many_questions_are_told_in_the_box(page: Page, shop: Shop, server: Served) -> None:
    body = {"model": server.run.name, "messages": [{"role": "user", "content": "how heavy is it"}]}
    with httpx.Client(base_url=server.url, timeout=PATIENCE, headers={"origin": shop.origin}) as client:
        while client.post("/chat/completions", json=body).status_code == 200:
            pass
    page.goto(f"{shop.origin}/lamp")
    page.get_by_role("button", name="Ask a question").click()
    ask(page, "what does it weigh")
    expect(page.locator(".told[data-state=done]")).to_contain_text("Too many questions; please try again in")


def test_the_script_is_small_and_names_the_served_run(server: Served) -> None:
    reply = httpx.get(f"{server.origin}/embed.js", timeout=PATIENCE)
    assert reply.headers["content-type"].startswith("text/javascript") and len(reply.content) < 15_000
    assert f'const MODEL = "{server.run.name}";' in reply.text
