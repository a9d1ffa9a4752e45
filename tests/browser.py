"""A headless Chromium for tests of HTML pages, driven through chromedriver's own protocol."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One page. Source: W3C WebDriver."""

    def __init__(self, port, options):
        self.root = f"http://127.0.0.1:{port}"
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._send("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.session = f"/session/{session['sessionId']}"

    def open(self, path):
        self._send("POST", f"{self.session}/url", {"url": path.resolve().as_uri()})

    def run(self, script):
        """The value that JavaScript returns."""
        return self._send("POST", f"{self.session}/execute/sync", {"script": script, "args": []})

    def wait_for(self, condition, patience_s=30, frames=0):
        """Waits until JavaScript returns true, then for so many more pictures of the page."""
        deadline = time.monotonic() + patience_s
        while not self.run(condition):
            assert time.monotonic() < deadline, f"the page never came to {condition}"
            time.sleep(0.05)
        for _ in range(frames):
            script = "const done = arguments[0]; requestAnimationFrame(() => done(null))"
            self._send("POST", f"{self.session}/execute/async", {"script": script, "args": []})

    def click(self, selector):
        """A user's click on the one element of a CSS selector, scrolled into view."""
        found = self._send("POST", f"{self.session}/element", {"using": "css selector", "value": selector})
        self._send("POST", f"{self.session}/element/{next(iter(found.values()))}/click", {})

    def screenshot(self):
        """What the window shows, as a PNG file."""
        return base64.b64decode(self._send("GET", f"{self.session}/screenshot"))

    def complaints(self):
        """What the page and the browser wrote to the console."""
        return [entry["message"] for entry in self._send("POST", f"{self.session}/se/log", {"type": "browser"})]

    def close(self):
        self._send("DELETE", self.session)

    def _send(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]


@contextmanager
def chromium(port_file, width=1280, height=900):
    """Starts a browser, or skips the test with the reason. port_file: a path for chromedriver's log."""
    binary = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)")
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 f"--window-size={width},{height}", f"--user-data-dir={port_file.parent / 'profile'}"]  # fmt: skip
    with port_file.open("w") as log:
        process = subprocess.Popen([driver, "--port=0"], stdout=log, stderr=subprocess.STDOUT)
    try:
        browser = Browser(_port(port_file), {"binary": binary, "args": arguments})
        try:
            yield browser
        finally:
            browser.close()
    finally:
        process.terminate()
        process.wait(timeout=30)


def _port(log, patience_s=60):
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        text = log.read_text()
        if "successfully on port" in text:
            return int(text.split("successfully on port")[1].split(".")[0])
        time.sleep(0.05)
    pytest.skip(f"chromedriver did not start: {log.read_text()[-300:]}")
