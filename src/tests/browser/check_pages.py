"""Opens every page below a folder in Chromium and says what is wrong with it.

    check_pages.py CHROMIUM FOLDER [PICTURES]

Each finding is a line of JSON: the page (relative to the folder), the check, what was found. The last line says how many
pages were looked at. PICTURES is a folder for pictures of each page and for the pages as printed.
"""

import importlib.util
import io
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

from pypdf import PdfReader

from chromium import Chromium

WIDE, NARROW = 1280, 400
# WCAG 2.2, success criterion 1.4.10: no scrolling in two dimensions from this width on.
NARROWEST = 320
# A4 in points, and in CSS pixels its width less the margins of style.css.
A4_PT = (595, 842)
A4_CONTENT_PX = 695
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Presses of the tab key beyond those that are needed: the browser lets it stop at what can be scrolled, too.
MORE_TABS = 60

MARK_REACHABLE = """(() => {
  document.querySelectorAll('details').forEach(details => details.open = true);
  const wanted = 'a[href], button, input, select, textarea, summary, [contenteditable], [tabindex]:not([tabindex^="-"])';
  return [...document.querySelectorAll(wanted)].filter(element => element.checkVisibility()).map((element, index) => {
    element.__nightmail = index;
    return element.outerHTML.slice(0, 120);
  });
})()"""

FOCUSED = """(() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element);
  const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  return {index: element.__nightmail ?? null, seen: outlined || style.boxShadow !== 'none'};
})()"""

# How far the page is wider than its window, and the outermost elements that stick out of it, and of nothing that scrolls.
OVERFLOW = """(() => {
  const root = document.documentElement;
  const excess = root.scrollWidth - root.clientWidth;
  if (excess <= 0) return null;
  const scrolls = e => !!e && e !== document.body && (getComputedStyle(e).overflowX !== 'visible' || scrolls(e.parentElement));
  const out = [...document.body.querySelectorAll('*')].filter(
    e => e.getBoundingClientRect().right > root.clientWidth + 0.5 && !scrolls(e.parentElement));
  const outermost = out.filter(e => !out.includes(e.parentElement)).slice(0, 5).map(e => e.outerHTML.slice(0, 120));
  return {excess, outermost};
})()"""

LINKS = """[...document.querySelectorAll('a[href]')].map(link => ({
  href: link.getAttribute('href'),
  url: link.href,
  here: link.hash && link.pathname === location.pathname ? !!document.getElementById(decodeURIComponent(link.hash.slice(1))) : null,
}))"""


def axe_source():
    package = importlib.util.find_spec("axe_playwright_python")
    return Path(package.origin).with_name("axe.min.js").read_text(encoding="utf-8")


class Look:
    """One page, looked at."""

    def __init__(self, browser, file, axe, pictures):
        self.file, self.axe, self.pictures = file, axe, pictures
        self.url = file.resolve().as_uri()
        self.browser = browser
        self.findings = []

    def found(self, check, what):
        self.findings.append((check, what))

    def all_checks(self):
        with self.browser.page() as page:
            self.page = page
            page.look(WIDE)
            self.events(page.open(self.url))
            self.links()
            self.accessibility("light", WIDE)
            self.reachable()
            for scheme, width, media in [("dark", WIDE, ""), ("light", NARROW, ""), ("light", WIDE, "print")]:
                page.look(width, scheme, media)
                page.open(self.url)
                self.accessibility(f"{media or scheme}, {width} px", width)
            for width in (NARROW, NARROWEST):
                page.look(width)
                page.open(self.url)
                self.overflow("reflow", f"at {width} px")
            self.printed()
        return self.findings

    def events(self, events):
        """Nothing may be said to the console, and nothing asked for but the page itself."""
        for event in events:
            method, params = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.found("console", details.get("exception", {}).get("description") or details["text"])
            elif method == "Runtime.consoleAPICalled":
                said = [str(argument.get("value", argument.get("description"))) for argument in params["args"]]
                self.found("console", f"{params['type']}: {' '.join(said)}")
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                self.found("console", params["entry"]["text"])
            elif method == "Page.javascriptDialogOpening":
                self.found("console", f"a dialogue: {params['message']}")
            elif method == "Network.requestWillBeSent":
                asked = params["request"]["url"]
                if asked != self.url and not asked.startswith("data:"):
                    self.found("request", asked)

    def links(self):
        """What a link leads to must be there, beside the page or in it; nothing leads out."""
        for link in self.page.run(LINKS):
            if link["here"] is not None:
                if not link["here"]:
                    self.found("link", f"{link['href']}: there is no such place in the page")
            elif not link["url"].startswith("file:"):
                self.found("link", f"{link['href']}: it leads out of the folder")
            else:
                path = re.split(r"[?#]", link["href"])[0]
                if not (self.file.parent / unquote(path)).is_file():
                    self.found("link", f"{link['href']}: there is no such file")

    def accessibility(self, mode, width):
        rules = json.dumps({"runOnly": AXE_TAGS, "resultTypes": ["violations"]})
        self.page.run(self.axe + "; 0")
        result = self.page.run(
            f"""axe.run(document, {rules}).then(result => result.violations.map(violation => ({{
                rule: violation.id, help: violation.help,
                nodes: violation.nodes.length,
                where: violation.nodes.slice(0, 3).map(node => node.target.join(' ') + ' ' + (node.any[0]?.message ?? '')),
            }})))"""
        )
        for violation in result:
            where = "; ".join(violation["where"])
            self.found("axe", f"{mode}: {violation['rule']}: {violation['help']} ({violation['nodes']}): {where}")
        self.picture(mode.split(",")[0] if width == WIDE else str(width))

    def picture(self, mode):
        if self.pictures:
            self.picture_file(f"-{mode}.png").write_bytes(self.page.picture())

    def picture_file(self, ending):
        return self.pictures / f"{self.file.parent.name}-{self.file.stem}{ending}"

    def reachable(self):
        """Whatever can be operated is reached by the tab key, and seen to be."""
        wanted = self.page.run(MARK_REACHABLE)
        reached, unseen = set(), set()
        for _ in range(len(wanted) + MORE_TABS):
            if len(reached) == len(wanted):
                break
            self.page.press_tab()
            focused = self.page.run(FOCUSED)
            if focused and focused["index"] is not None:
                reached.add(focused["index"])
                if not focused["seen"]:
                    unseen.add(focused["index"])
        for index, element in enumerate(wanted):
            if index not in reached:
                self.found("keyboard", f"not reached by the tab key: {element}")
            elif index in unseen:
                self.found("focus", f"nothing shows that it has the focus: {element}")

    def overflow(self, check, where):
        overflow = self.page.run(OVERFLOW)
        if overflow:
            self.found(check, f"{where}: {overflow['excess']} px too wide: {overflow['outermost']}")

    def printed(self):
        """On paper it is as wide as the paper, and no less is there than the heading that it has on the screen."""
        self.page.look(WIDE)
        self.page.open(self.url)
        heading = self.page.run("document.querySelector('h1')?.innerText ?? ''")
        data = self.page.pdf()
        if self.pictures:
            self.picture_file(".pdf").write_bytes(data)
        self.page.look(A4_CONTENT_PX, media="print")
        self.page.open(self.url)
        self.overflow("print", "on A4")
        sheets = PdfReader(io.BytesIO(data)).pages
        bare = lambda text: re.sub(r"\s+", "", text)
        texts = [bare(sheet.extract_text()) for sheet in sheets]
        if not bare(heading) or bare(heading) not in texts[0]:
            self.found("print", f"the first sheet has no heading `{heading}`")
        for number, (sheet, text) in enumerate(zip(sheets, texts), 1):
            size = (float(sheet.mediabox.width), float(sheet.mediabox.height))
            if any(abs(is_pt - a4_pt) > 2 for is_pt, a4_pt in zip(size, A4_PT)):
                self.found("print", f"sheet {number} is {size[0]:.0f} by {size[1]:.0f} points, not A4")
                break
            if not text:
                self.found("print", f"sheet {number} of {len(sheets)} is blank")


def main():
    program, folder, *more = sys.argv[1:]
    folder = Path(folder)
    pictures = Path(more[0]) if more else None
    files = sorted(folder.rglob("*.html"))
    axe = axe_source()
    with Chromium(program) as browser:
        for file in files:
            for check, what in Look(browser, file, axe, pictures).all_checks():
                print(json.dumps({"page": str(file.relative_to(folder)), "check": check, "found": what}), flush=True)
    print(json.dumps({"pages": len(files)}))


if __name__ == "__main__":
    main()
