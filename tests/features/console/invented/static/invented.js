document.querySelector("#note")?.addEventListener("click", () => say(document.body, "noted"));
