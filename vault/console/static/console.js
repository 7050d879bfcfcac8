// Reveals values and hides them again, and moves by keyboard. Everything else works without a script.
const SHOWN_MILLISECONDS = 30_000;

/** Returns a digest of `text`, so that the text itself is not kept. */
const digestOf = async (text) => {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(bytes).join();
};

/**
 * Empties the clipboard, if it still has the text with this digest; only a page with the focus may do that.
 * Says so in `state` if the browser does not allow it.
 */
const clearClipboard = async (digest, state) => {
  if (!document.hasFocus()) {
    addEventListener("focus", () => clearClipboard(digest, state), { once: true });
    return;
  }
  try {
    if ((await digestOf(await navigator.clipboard.readText())) === digest) {
      await navigator.clipboard.writeText("");
    }
  } catch {
    state.textContent = "The clipboard could not be emptied: empty it yourself.";
  }
};

/** Makes the buttons of a secret's page reveal a version in `panel`. */
const begin = (panel) => {
  const shown = document.getElementById("shown");
  const state = document.getElementById("state");
  const copy = document.getElementById("copy");
  const hideButton = document.getElementById("hide");
  // The number of the latest reveal: the replies to earlier ones are dropped.
  let turn = 0;
  let timer;

  const hide = (reason = "Hidden.") => {
    turn += 1;
    clearTimeout(timer);
    shown.textContent = "";
    state.textContent = reason;
    copy.hidden = hideButton.hidden = true;
  };

  const reveal = async (version) => {
    hide("…");
    panel.hidden = false;
    const own = turn;
    const { address, secretId, formToken } = panel.dataset;
    const body = JSON.stringify({ secret_id: secretId, version, form_token: formToken });
    const headers = { "Content-Type": "application/json" };
    try {
      const reply = await fetch(address, { method: "POST", headers, body, cache: "no-store", redirect: "error" });
      if (reply.status === 401) {
        location.reload();
        return;
      }
      const found = await reply.json();
      if (own !== turn) {
        return;
      }
      if (!reply.ok) {
        hide(found.detail);
        return;
      }
      shown.textContent = found.value;
      const form = found.form === "base64" ? " It is not text, so this is its base64." : "";
      state.textContent = `Version ${version}, hidden after 30 seconds.${form}`;
    } catch {
      if (own === turn) {
        hide("The service did not answer. Try again.");
      }
      return;
    }
    copy.hidden = !navigator.clipboard;
    hideButton.hidden = false;
    timer = setTimeout(hide, SHOWN_MILLISECONDS);
  };

  for (const button of document.querySelectorAll("[data-version]")) {
    button.hidden = false;
    button.addEventListener("click", () => reveal(Number(button.dataset.version)));
  }
  hideButton.addEventListener("click", () => hide());
  copy.addEventListener("click", async () => {
    const text = shown.textContent;
    await navigator.clipboard.writeText(text);
    const digest = await digestOf(text);
    setTimeout(() => clearClipboard(digest, state), SHOWN_MILLISECONDS);
    state.textContent = "Copied. The clipboard is emptied after 30 seconds, unless it has changed.";
  });
  addEventListener("pagehide", () => hide());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      hide();
    }
  });
};

const panel = document.getElementById("value");
if (panel) {
  document.getElementById("scriptless").hidden = true;
  begin(panel);
}

/** Focuses the row `step` rows after the one with the focus. */
const move = (step) => {
  const rows = [...document.querySelectorAll("[data-row]:not([hidden])")];
  const at = rows.indexOf(document.activeElement);
  rows.at(at < 0 ? 0 : Math.min(Math.max(at + step, 0), rows.length - 1))?.focus();
};

const KEYS = {
  "/": () => document.getElementById("search")?.focus(),
  "?": () => document.getElementById("help")?.showModal(),
  j: () => move(1),
  k: () => move(-1),
};

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, dialog");
  if (isTyping || event.ctrlKey || event.altKey || event.metaKey || !(event.key in KEYS)) {
    return;
  }
  event.preventDefault();
  KEYS[event.key]();
});
