// Values as plain text: a field that makes the base64 of a request, and the text of a fetched value.

/** Return the value of a JSON *text*, or null if it is malformed. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Return the paths in *value* at which *schema* has base64. */
function base64In(schema, value, path = []) {
  if (schema?.format === "byte") return [path];
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([name, below]) =>
    base64In(Array.isArray(value) ? schema?.items : schema?.properties?.[name], below, [...path, name]),
  );
}

const at = (value, path) => path.reduce((found, name) => found[name], value);
const named = (path) => path.join(".");

/** Return the base64 of *text* in UTF-8. */
function encode(text) {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
}

/** Return the text that *base64* encodes, or null if it is not text in UTF-8. */
function decode(base64) {
  try {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

export function plainText({ React }) {
  const h = React.createElement;

  /** One field for each value in the body. The body is the only state. */
  function PlainTextFields({ body, schema, onChange, id }) {
    const value = parsed(body);
    const paths = base64In(schema, value);
    if (!paths.length) return null;
    return h(
      "div",
      { className: "plain-text" },
      paths.map((path) => {
        const text = decode(at(value, path));
        const field = `${id}-${named(path)}`;
        const change = (event) => {
          const changed = structuredClone(value);
          at(changed, path.slice(0, -1))[path.at(-1)] = encode(event.target.value);
          onChange(JSON.stringify(changed, null, 2));
        };
        return h(
          "div",
          { key: named(path) },
          h("label", { htmlFor: field }, "Plain text of ", h("code", null, named(path))),
          h("textarea", {
            id: field,
            value: text ?? "",
            placeholder: text === null ? "The value is not text in UTF-8." : "",
            rows: 2,
            // Some spelling checkers send text to a server.
            spellCheck: false,
            autoComplete: "off",
            autoCapitalize: "off",
            onChange: change,
          }),
        );
      }),
      h("p", null, "The body above contains this text in base64 (UTF-8)."),
    );
  }

  const RequestBody = (Original) =>
    function RequestBodyWithPlainText(props) {
      const { requestBody, requestBodyValue, contentType, isExecute, onChange, specPath } = props;
      const schema = requestBody.getIn(["content", contentType, "schema"]);
      return h(
        React.Fragment,
        null,
        h(Original, props),
        isExecute &&
          schema &&
          h(PlainTextFields, {
            body: requestBodyValue,
            schema: schema.toJS(),
            onChange,
            id: specPath.join("-"),
          }),
      );
    };

  /** The text of the values in a reply, hidden until it is asked for. */
  function PlainText({ response, path, method, specSelectors }) {
    const [shown, show] = React.useState(null);
    const { status, text } = response.toObject();
    const value = parsed(text);
    const place = ["responses", String(status), "content", "application/json", "schema"];
    const schema = specSelectors.specResolvedSubtree(["paths", path, method, ...place]);
    const paths = schema ? base64In(schema.toJS(), value) : [];
    if (!paths.length) return null;
    const open = shown === text;
    return h(
      "div",
      { className: "plain-text" },
      h(
        "button",
        { type: "button", className: "btn", "aria-expanded": open, onClick: () => show(open ? null : text) },
        open ? "Hide plain text" : "Show plain text",
      ),
      open &&
        paths.map((path) => {
          const plain = decode(at(value, path));
          return h(
            React.Fragment,
            { key: named(path) },
            paths.length > 1 && h("h5", null, named(path)),
            plain === null ? h("p", null, "The value is not text in UTF-8.") : h("pre", null, plain),
          );
        }),
    );
  }

  const liveResponse = (Original) => (props) =>
    h(React.Fragment, null, h(Original, props), h(PlainText, props));

  return { wrapComponents: { RequestBody, liveResponse } };
}
