"""Receive webhooks: verify each signature, and handle each event once."""

import base64
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
seen = set()


class Receiver(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_POST(self):
        """Accept a signed event with 204; refuse anything else with 401."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name, time_sent = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        digest = hmac.digest(KEY, f"{name}.{time_sent}.".encode() + body, "sha256")
        expected = f"v1,{base64.b64encode(digest).decode()}"
        is_ours = hmac.compare_digest(expected, self.headers["webhook-signature"])
        if is_ours and abs(time.time() - int(time_sent)) < 300:
            if name not in seen:
                seen.add(name)
                print(json.loads(body)["type"], flush=True)
            self.send_response(204)
        else:
            self.send_response(401)
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever()
