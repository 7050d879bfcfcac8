/** Return the value of a JSON *text*, or null if it is malformed. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
