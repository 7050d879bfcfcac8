#!/usr/bin/env python3
# ruff: noqa: S108, S310, T201 - it is alone in its container
"""An agent: its programs call the API, and it prints what each saw. Two of them stay, to be searched."""

import json
import subprocess
import time
import urllib.request
from pathlib import Path

import httpx
import requests

API = "https://api.example.com"
NODE = f"""
const reply = await fetch("{API}/v1/node", {{method: "POST", body: "x".repeat(100000)}});
console.log(await reply.text());
setInterval(() => {{}}, 1000);
"""


def events() -> str:
    """Return all events, after telling the API that the first was seen."""
    seen = ""
    with httpx.stream("GET", f"{API}/v1/events", timeout=30) as reply:
        for line in reply.iter_lines():
            if line and not seen:
                httpx.get(f"{API}/v1/seen")
            seen += line
    return seen


def git() -> str:
    """Clone, and return the subject of the last commit."""
    subprocess.run(["git", "clone", "-q", f"{API}/a.git", "/tmp/copy"], check=True)
    return subprocess.check_output(["git", "-C", "/tmp/copy", "log", "--format=%s"], text=True)


# Its traffic is recorded from then on.
while not Path("/tmp/begin").exists():
    time.sleep(0.1)
node = subprocess.Popen(
    ["node", "--input-type=module", "-e", NODE], stdout=subprocess.PIPE, text=True, bufsize=1
)
assert node.stdout
seen = {
    "node": node.stdout.readline(),
    "curl": subprocess.check_output(["curl", "-sS", "--fail", "-d", "x", f"{API}/v1/curl"], text=True),
    "urllib": urllib.request.urlopen(f"{API}/v1/urllib", data=b"x").read().decode(),
    "requests": requests.post(f"{API}/v1/requests", data="x", timeout=30).text,
    "httpx": httpx.post(f"{API}/v1/httpx", content=b"x").text,
    "events": events(),
    "git": git(),
}
print(json.dumps(seen), flush=True)
node.wait()
