// Sends forms as JSON: values that people store, and requests whose answer is shown once.

/** 64 characters, so that six bits make one; none of them needs quotes in a shell or a URL. */
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const GENERATED_CHARACTERS = 32;

const generate = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(GENERATED_CHARACTERS)), (byte) => ALPHABET[byte & 63]).join("");

/** Returns the fields of `form` that have a value; those of checkboxes are lists. */
const bodyOf = (form) => {
  const body = {};
  for (const field of form.elements) {
    if (!field.name || field.value === "" || (field.type === "checkbox" && !field.checked)) {
      continue;
    }
    const isNumber = field.type === "number" || "number" in field.dataset;
    if (field.type === "checkbox") {
      body[field.name] = [...(body[field.name] ?? []), field.value];
    } else {
      body[field.name] = isNumber ? Number(field.value) : field.value;
    }
  }
  return body;
};

/** Empties the fields of `form` that people fill in, and its answer. */
const clear = (form) => {
  form.reset();
  const result = form.querySelector(".result");
  result.hidden = true;
  result.querySelector("output").textContent = "";
};

for (const form of document.querySelectorAll("form[data-json]")) {
  const state = form.querySelector("[role=status]");
  const result = form.querySelector(".result");
  const button = form.querySelector("button:not([type])");
  const copy = result.querySelector("[data-copy]");
  copy.hidden = !navigator.clipboard;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say(state, "…");
    button.disabled = true;
    try {
      const answer = await send(form.dataset.json, bodyOf(form), form);
      if ("isRead" in form.dataset) {
        noteRead();
      }
      clear(form);
      say(state, answer.message);
      if (answer.location) {
        location.assign(answer.location);
      }
      const value = answer.link ? new URL(answer.link, location.href).href : answer.value;
      if (value) {
        result.querySelector("output").textContent = value;
        result.hidden = false;
        // Where the link or the token is, which can be below what a small screen shows.
        (copy.hidden ? result.querySelector("output") : copy).focus();
      }
    } catch (error) {
      say(state, error.message, true);
    }
    button.disabled = false;
  });
  copy.addEventListener("click", () => copyFor(result.querySelector("output").textContent, state));
  // Pages that browsers keep for the way back have no values.
  addEventListener("pagehide", () => clear(form));
}

for (const button of document.querySelectorAll("[data-generate]")) {
  button.addEventListener("click", () => {
    document.getElementById(button.dataset.generate).value = generate();
  });
}
