"""A browser without a window: what it shows of a page, says of it and asks for."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--window-size=1280,2400",
    # No name is found, so that nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
SEEN = re.compile(r'<pre id="seen">(.*?)</pre>', re.DOTALL)


def browse(page: Path, folder: Path):
    """Take a picture of a page; return what the browser said and the addresses that the page asked for."""
    network = folder / "network.json"
    own = (f"--user-data-dir={folder / 'profile'}", f"--screenshot={folder / 'page.png'}", f"--log-net-log={network}")
    command = [CHROMIUM, *FLAGS, *own, page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    log = json.loads(network.read_text())
    asked = [
        e["params"] for e in log["events"] if e["type"] == log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    ]
    # The browser looks for its own updates in spite of the flags; those requests come from no origin.
    urls = [params["url"] for params in asked if "url" in params and params["initiator"] != "not an origin"]
    return result.stderr, [url for url in urls if url.startswith(("http:", "https:"))]


def click_through(page: Path, folder: Path, script: str, anchor: str = "", width: int = 1280):
    """Run JavaScript at the end of a copy of a page; return what it passes to `see`, by name, once it calls `done`.

    An error in the page or in the script is seen under the name `error`.
    """
    driver = f"""<pre id="seen"></pre><script>
        const seen = {{}};
        const see = (name, value) => {{ seen[name] = value; }};
        window.onerror = (message) => {{ see("error", message); }};
        const all = (selector) => [...document.querySelectorAll(selector)];
        const one = (selector) => document.querySelector(selector);
        const texts = (selector) => all(selector).map((element) => element.textContent);
        const choose = (id, value) => {{
            one(id).value = value;
            for (const kind of ["input", "change"]) one(id).dispatchEvent(new Event(kind, {{ bubbles: true }}));
        }};
        window.addEventListener("load", async () => {{
            try {{ {script} }} catch (error) {{ see("error", String(error)); }}
            one("#seen").textContent = JSON.stringify(seen);
        }});
        </script></body>"""
    copy = folder / "copy.html"
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", driver), encoding="utf-8")
    own = (
        f"--user-data-dir={folder / 'clicks'}",
        f"--window-size={width},900",
        "--virtual-time-budget=5000",
        "--dump-dom",
    )
    command = [CHROMIUM, *FLAGS, *own, copy.as_uri() + anchor]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(unescape(SEEN.search(result.stdout)[1]))
