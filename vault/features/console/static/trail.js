// Follows the audit trail: asks for new entries, and shows them above the others.
const FOLLOW_MILLISECONDS = 5_000;
/** Questions after which it stops, because each is an entry and keeps the session alive: five minutes. */
const MAX_QUESTIONS = 60;

const rowOf = (entry) => {
  const row = document.createElement("tr");
  const texts = [entry.time, entry.action, entry.status, entry.principal, entry.secret, entry.origin, entry.details];
  for (const text of texts) {
    const name = document.createElement("bdi");
    name.textContent = text;
    row.insertCell().append(name);
  }
  row.cells[0].className = "time";
  row.cells[2].className = entry.status === "success" ? "good" : "bad";
  return row;
};

for (const form of document.querySelectorAll("form[data-follow]")) {
  const state = form.querySelector("[role=status]");
  const button = form.querySelector("button");
  const entries = document.getElementById("entries");
  let left = 0;
  let timer;

  const stop = (reason, isFailure = false) => {
    left = 0;
    clearTimeout(timer);
    button.setAttribute("aria-pressed", "false");
    say(state, reason, isFailure);
  };

  const ask = async () => {
    try {
      const answer = await send(form.dataset.follow, bodyOf(form));
      form.elements.cursor.value = answer.cursor;
      for (const entry of answer.rows) {
        entries.prepend(rowOf(entry));
      }
    } catch (error) {
      stop(error.message, true);
    }
    left -= 1;
    if (left > 0) {
      timer = setTimeout(ask, FOLLOW_MILLISECONDS);
    } else if (button.getAttribute("aria-pressed") === "true") {
      stop("Stopped after five minutes.");
    }
  };

  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (left > 0) {
      stop("");
      return;
    }
    left = MAX_QUESTIONS;
    button.setAttribute("aria-pressed", "true");
    say(state, "New entries appear at the top.");
    ask();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && left > 0) {
      stop("Stopped, because you left the page.");
    }
  });
}
