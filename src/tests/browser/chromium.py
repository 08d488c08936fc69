"""Chromium without a window, driven by the DevTools protocol over a pipe: the standard library is all it needs.

The browser is told that there is no network, so that nothing which a page asks for leaves the machine, whatever is found.
"""

import base64
import fcntl
import json
import os
import select
import subprocess
import tempfile
import time

# How long anything that must come may take, on a busy machine.
WITHIN_S = 120

FLAGS = [
    "--headless=new",
    "--remote-debugging-pipe",
    # Root has no sandbox of Chromium's, and the pages are our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=direct://",
]


class Refused(Exception):
    """The browser answered a command with an error, or not at all."""


class Chromium:
    """A browser. Use it as a context: it ends with it."""

    def __init__(self, program):
        self._profile = tempfile.TemporaryDirectory(prefix="nightmail-chromium-", ignore_cleanup_errors=True)
        browser_reads, self._commands = os.pipe()
        self._answers, browser_writes = os.pipe()

        def as_the_browser_wants_them():
            # Out of the way first, since either may have the other's number.
            reads, writes = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (browser_reads, browser_writes))
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, "--user-data-dir=" + self._profile.name, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=as_the_browser_wants_them,
            pass_fds=(3, 4),
        )
        os.close(browser_reads)
        os.close(browser_writes)
        self._last_id = 0
        self._read = b""
        self._events = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
        except (Refused, OSError):
            self._process.terminate()
        self._process.wait(WITHIN_S)
        os.close(self._commands)
        os.close(self._answers)
        self._profile.cleanup()

    def call(self, method, session=None, **params):
        """Gives a command and returns what it comes to. Events that come meanwhile are kept."""
        self._last_id += 1
        command = {"id": self._last_id, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        deadline = time.monotonic() + WITHIN_S
        while True:
            message = self._next(deadline, method)
            if message.get("id") == self._last_id:
                if "error" in message:
                    raise Refused(f"{method}: {message['error'].get('message')}")
                return message["result"]

    def wait_for(self, method, session):
        """Returns the first event of that name since the last time that events were taken."""
        deadline = time.monotonic() + WITHIN_S
        while True:
            for event in self._events.get(session, []):
                if event["method"] == method:
                    return event["params"]
            self._next(deadline, method)

    def take_events(self, session):
        return self._events.pop(session, [])

    def _next(self, deadline, awaited):
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._answers], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise Refused(f"{awaited} did not come within {WITHIN_S} s")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise Refused(f"Chromium has ended; {awaited} was awaited")
            self._read += data
        line, _, self._read = self._read.partition(b"\0")
        message = json.loads(line)
        if "method" in message:
            self._events.setdefault(message.get("sessionId"), []).append(message)
        return message

    def page(self):
        """A new page, which is blank."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, target, session)


class Page:
    """A page of the browser. Use it as a context: it is closed with it."""

    def __init__(self, browser, target, session):
        self._browser = browser
        self._target = target
        self._session = session
        self._world = None
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._browser.call("Target.closeTarget", targetId=self._target)

    def call(self, method, **params):
        return self._browser.call(method, self._session, **params)

    def look(self, width, scheme="light", media="", height=900):
        """Sets the width of the window in CSS pixels, the colour scheme that the reader prefers, and the medium."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def open(self, url):
        """Opens an address and waits until all of it is there. Returns the events of it."""
        self._browser.take_events(self._session)
        answer = self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise Refused(f"{url}: {answer['errorText']}")
        self._browser.wait_for("Page.loadEventFired", self._session)
        frame = self.call("Page.getFrameTree")["frameTree"]["frame"]["id"]
        # A world of its own: what is run there is not subject to the page's policy, and the page does not see it.
        world = self.call("Page.createIsolatedWorld", frameId=frame, worldName="nightmail")
        self._world = world["executionContextId"]
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
        return self._browser.take_events(self._session)

    def run(self, expression):
        """The value of an expression in the page, a promise's once it is kept."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            contextId=self._world,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise Refused(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def press_tab(self):
        key = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
        self.call("Input.dispatchKeyEvent", type="rawKeyDown", **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    def pdf(self):
        """The page as the browser prints it, on the paper that the page asks for."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return base64.b64decode(answer["data"])

    def picture(self, clip=None):
        """A PNG of the whole page, or of a part of it (x, y, width, height)."""
        if clip is None:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = (0, 0, size["width"], size["height"])
        x, y, width, height = clip
        answer = self.call(
            "Page.captureScreenshot",
            format="png",
            captureBeyondViewport=True,
            clip={"x": x, "y": y, "width": width, "height": height, "scale": 1},
        )
        return base64.b64decode(answer["data"])
