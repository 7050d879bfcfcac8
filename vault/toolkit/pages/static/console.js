// Hides what only pages without a script need, and moves by keyboard. Other scripts reveal values and send forms.

for (const note of document.querySelectorAll(".scriptless")) {
  note.hidden = true;
}

/** Says `text` in `state`; a failure looks like one. */
const say = (state, text, isFailure = false) => {
  state.textContent = text;
  state.classList.toggle("bad", isFailure);
};

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
  const isTyping = event.target.closest("input, textarea, select, dialog");
  if (isTyping || event.ctrlKey || event.altKey || event.metaKey || !(event.key in KEYS)) {
    return;
  }
  event.preventDefault();
  KEYS[event.key]();
});
