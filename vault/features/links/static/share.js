// The pages of links. Their token is in the fragment, which the browser sends to no server: only this script does.

const TIME = { day: "numeric", month: "short", year: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short" };
const ROUGH = { maximumSignificantDigits: 2, roundingMode: "floor" };
const timeOf = (text) => new Date(text).toLocaleString(undefined, TIME);

const INCOMPLETE = "The link is not complete. Open it again, or ask the person who sent it.";
// The state of a page whose link was used: the browser keeps it when someone reloads the page.
const USED = "used";

/** Returns `name`, which someone else chose, in a frame: without one, it could be read as a sentence of the page. */
const framed = (name) => {
  const element = document.createElement("bdi");
  element.className = "label";
  element.textContent = name;
  return element;
};

const ABOUT = {
  share: (found) => ["Shared by ", framed(found.by), `, until ${timeOf(found.until)}.`],
  request: (found) => [
    framed(found.by),
    " asks for a value for ",
    framed(found.name),
    `, until ${timeOf(found.until)}. ` +
      `It can have up to about ${found.max_bytes.toLocaleString(undefined, ROUGH)} characters.`,
  ],
};

/** Shows a value that cannot be opened again: not hidden when the tab changes, as a reveal is. */
const showOnce = (panel, value, state, note) => {
  const opened = panel.querySelector("[data-opened]");
  const output = opened.querySelector("output");
  const copy = opened.querySelector("[data-copy-value]");
  const hide = () => {
    output.textContent = "";
    opened.hidden = true;
    say(state, "Hidden. The link does not open it again.");
  };
  output.textContent = value;
  opened.hidden = false;
  copy.hidden = !navigator.clipboard;
  copy.addEventListener("click", () => copyFor(output.textContent, state));
  opened.querySelector("[data-hide]").addEventListener("click", hide);
  say(state, `Hidden after 30 seconds: copy it now.${note}`);
  (copy.hidden ? output : copy).focus();
  setTimeout(hide, SHOWN_MILLISECONDS);
  addEventListener("pagehide", hide);
};

const openLink = async (panel) => {
  const { link, describe, send: address } = panel.dataset;
  const token = location.hash.slice(1);
  const about = document.getElementById("about");
  const outcome = document.getElementById("outcome");
  const form = panel.querySelector("form");
  const button = form.querySelector("button");
  // Another link in the same tab changes the fragment only.
  addEventListener("hashchange", () => location.reload());
  let found;
  try {
    if (!token) {
      throw new Error(history.state === USED ? "The link was used. It works only once." : INCOMPLETE);
    }
    found = await send(describe, { token });
  } catch (error) {
    about.textContent = error.message;
    return;
  }
  about.replaceChildren(...ABOUT[link](found));
  const passphrase = form.querySelector("[data-passphrase]");
  if (passphrase) {
    passphrase.hidden = !found.has_passphrase;
    form.elements.passphrase.required = found.has_passphrase;
  }
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say(outcome, "…");
    button.disabled = true;
    try {
      const answer = await send(address, { token, ...bodyOf(form) });
      form.reset();
      form.hidden = true;
      // Without the token, which is of no more use.
      history.replaceState(USED, "", location.pathname);
      if (link === "share") {
        showOnce(panel, answer.value, outcome, answer.form === "base64" ? " It is not text, so this is its base64." : "");
      } else {
        say(outcome, answer.message);
      }
    } catch (error) {
      say(outcome, error.message, true);
      passphrase?.querySelector("input").focus();
    }
    button.disabled = false;
  });
  addEventListener("pagehide", () => form.reset());
};

const linkPanel = document.querySelector("[data-link]");
if (linkPanel) {
  openLink(linkPanel);
}
