// Reveals values, compares them, and hides them again.
const SHOWN_MILLISECONDS = 30_000;
/** Lines beyond which a difference shows both values as a whole: its time is the product of their lines. */
const MAX_COMPARED_LINES = 2_000;

/** Returns the lines of both lists in their order, each with `-`, `+` or a space before it. */
const differenceOf = (before, after) => {
  if (Math.max(before.length, after.length) > MAX_COMPARED_LINES) {
    return [...before.map((line) => ["-", line]), ...after.map((line) => ["+", line])];
  }
  // The lengths of the longest common part of the rests that begin at both places.
  const common = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      common[i][j] =
        before[i] === after[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      lines.push([" ", before[i]]);
      [i, j] = [i + 1, j + 1];
    } else if (j === after.length || (i < before.length && common[i + 1][j] >= common[i][j + 1])) {
      lines.push(["-", before[i]]);
      i += 1;
    } else {
      lines.push(["+", after[j]]);
      j += 1;
    }
  }
  return lines;
};

const lineOf = ([mark, line]) => {
  const element = document.createElement(mark === "-" ? "del" : mark === "+" ? "ins" : "span");
  element.textContent = `${mark} ${line}\n`;
  return element;
};

/** Notes on a secret's page that this person has just used up one read of it. */
const noteRead = () => {
  const left = document.getElementById("reads-left");
  if (left) {
    left.textContent = Math.max(Number(left.textContent) - 1, 0);
  }
  document.getElementById("last-fetched").textContent = "since you opened this page";
};

/** Returns a digest of `text`, so that the text itself is not kept. */
const digestOf = async (text) => {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(bytes).join();
};

/** Returns what a refusal says, with the labels of the fields of `form` that it is about. */
const messageOf = ({ detail, errors = [] }, form) => {
  const messages = errors.map(({ field, message }) => {
    const label = form?.elements[field]?.labels?.[0];
    return label ? `${label.textContent}: ${message}` : message;
  });
  return messages.join(" ") || detail;
};

/**
 * Sends `body` as JSON to an address of the console, and returns the answer. Reloads the page if the session has
 * ended. Throws an error with a message for people if the service refuses the fields of `form`, or does not answer.
 */
const send = async (address, body, form) => {
  const headers = { "Content-Type": "application/json" };
  const options = { method: "POST", headers, body: JSON.stringify(body), cache: "no-store", redirect: "error" };
  let reply;
  let answer;
  try {
    reply = await fetch(address, options);
    answer = await reply.json();
  } catch {
    throw new Error("The service did not answer. Try again.");
  }
  if (reply.status === 401) {
    location.reload();
  }
  if (!reply.ok) {
    throw new Error(messageOf(answer, form));
  }
  return answer;
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
    say(state, "The clipboard could not be emptied: empty it yourself.", true);
  }
};

/** Copies `text`, and says so in `state`; later it empties the clipboard. */
const copyFor = async (text, state) => {
  await navigator.clipboard.writeText(text);
  const digest = await digestOf(text);
  setTimeout(() => clearClipboard(digest, state), SHOWN_MILLISECONDS);
  say(state, "Copied. The clipboard is emptied after 30 seconds, unless it has changed.");
};

/** Calls `hide` when the page is no longer looked at. */
const hideWhenLeft = (hide) => {
  addEventListener("pagehide", () => hide());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      hide();
    }
  });
};

/** Makes the buttons of a secret's page reveal a version in `panel`, or the difference of two. */
const begin = (panel) => {
  const shown = document.getElementById("shown");
  const state = document.getElementById("state");
  const copy = document.getElementById("copy");
  const hideButton = document.getElementById("hide");
  const compare = document.getElementById("compare");
  const reason = document.getElementById("reason");
  const { address, secretId, formToken } = panel.dataset;
  // The number of the latest reveal: the replies to earlier ones are dropped.
  let turn = 0;
  let timer;
  // The button of this reveal.
  let asked;

  const hide = (reason = "Hidden.", isFailure = false) => {
    turn += 1;
    clearTimeout(timer);
    shown.textContent = "";
    say(state, reason, isFailure);
    if (panel.contains(document.activeElement)) {
      asked.focus({ preventScroll: true });
    }
    copy.hidden = hideButton.hidden = true;
  };

  const fetchVersion = async (version) => {
    const why = reason ? { reason: reason.value } : {};
    const found = await send(address, { secret_id: secretId, version, form_token: formToken, ...why });
    noteRead();
    return found;
  };

  /** Shows what `show` puts into the panel for `versions`, once all are there. */
  const reveal = async (button, versions, show) => {
    if (reason && !reason.reportValidity()) {
      return;
    }
    hide("…");
    asked = button;
    panel.hidden = false;
    const own = turn;
    try {
      const found = [];
      for (const version of versions) {
        found.push(await fetchVersion(version));
      }
      if (own !== turn) {
        return;
      }
      state.textContent = show(found);
    } catch (error) {
      if (own === turn) {
        hide(error.message, true);
      }
      return;
    }
    hideButton.hidden = false;
    // Scrolls to the value, and the next keys are for it.
    (copy.hidden ? hideButton : copy).focus();
    timer = setTimeout(hide, SHOWN_MILLISECONDS);
  };

  const revealOne = (button, version) =>
    reveal(button, [version], ([found]) => {
      shown.textContent = found.value;
      copy.hidden = !navigator.clipboard;
      const form = found.form === "base64" ? " It is not text, so this is its base64." : "";
      return `Version ${version}, hidden after 30 seconds.${form}`;
    });

  for (const button of document.querySelectorAll("[data-version]")) {
    button.hidden = false;
    button.addEventListener("click", () => revealOne(button, Number(button.dataset.version)));
  }
  if (compare) {
    compare.hidden = false;
    compare.addEventListener("submit", (event) => {
      event.preventDefault();
      const versions = ["compare-old", "compare-new"].map((id) => Number(document.getElementById(id).value));
      reveal(event.submitter, versions, ([older, newer]) => {
        const lines = differenceOf(older.value.split("\n"), newer.value.split("\n"));
        shown.replaceChildren(...lines.map(lineOf));
        return `Version ${versions[0]} (−) and ${versions[1]} (+), hidden after 30 seconds.`;
      });
    });
  }
  hideButton.addEventListener("click", () => hide());
  copy.addEventListener("click", () => copyFor(shown.textContent, state));
  hideWhenLeft(hide);
};

const panel = document.getElementById("value");
if (panel) {
  document.getElementById("why")?.removeAttribute("hidden");
  begin(panel);
}
