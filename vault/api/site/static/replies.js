// The replies of an operation: the one to your request, the documented success, and the refusals folded.
import { parsed } from "./json.js";

export function replies({ React }) {
  const h = React.createElement;
  const isRefusal = (_, status) => !/^[123]/.test(status);

  /** The reply to a request of this page. */
  function liveResponse({ response, responses, path, method, getComponent, getConfigs, specSelectors }) {
    const { status, text, error, message } = response.toObject();
    const headers = response.get("headers").toJS();
    const contentType = headers["content-type"];
    const body = { content: text, contentType, headers, url: response.get("url"), getConfigs, getComponent };
    const schema = responses.getIn([String(status), "content", "application/json", "schema"]);
    // The credential stays masked, as in the dialog.
    const request = specSelectors
      .requestFor(path, method)
      ?.update("headers", (sent) =>
        sent.map((text, name) => (name === "Authorization" ? "Bearer TOKEN" : text)),
      );
    return h(
      "section",
      { className: "live-response" },
      h(
        "h4",
        null,
        "Reply ",
        status && h("span", { className: error ? "status status--refused" : "status" }, status),
      ),
      error && !text && h("p", null, message),
      text && h(getComponent("responseBody"), body),
      h(getComponent("PlainText"), { text, schema }),
      h(Kind, { problem: parsed(text) }),
      h(
        "details",
        null,
        h("summary", null, "Headers"),
        h(
          "pre",
          null,
          Object.entries(headers)
            .map(([name, value]) => `${name}: ${value}`)
            .join("\n"),
        ),
      ),
      request &&
        h(
          "details",
          null,
          h("summary", null, "As a curl command"),
          h(getComponent("curl", true), { request }),
        ),
    );
  }

  /** A link to the page about a problem. */
  function Kind({ problem }) {
    const isPage = /^\/[a-z]/.test(problem?.type);
    return isPage && h("p", null, h("a", { href: problem.type }, "About this problem"));
  }

  /** Details that are made when they are first opened: those of all refusals take longer than the rest. */
  function Folded({ summary, children }) {
    const [wasOpened, setOpened] = React.useState(false);
    return h(
      "details",
      { onToggle: () => setOpened(true) },
      h("summary", null, summary),
      wasOpened && children(),
    );
  }

  /** One kind of refusal: its description, and on demand an example and the headers. */
  function Refusal({ status, refusal, getComponent }) {
    const HighlightCode = getComponent("HighlightCode", true);
    const Markdown = getComponent("Markdown", true);
    const Headers = getComponent("headers");
    const description = h(Markdown, { key: "description", source: refusal.get("description") });
    const media = refusal.get("content")?.first();
    const named = media?.get("examples")?.valueSeq();
    const examples = named?.map((example) => example.get("value")) ?? [media?.get("example")];
    return h(Folded, { summary: [h("b", { key: status }, status), description] }, () => [
      ...[...examples]
        .filter(Boolean)
        .map((example, index) =>
          h(
            React.Fragment,
            { key: index },
            h(HighlightCode, { language: "json" }, JSON.stringify(example, null, 2)),
            h(Kind, { problem: example.toJS() }),
          ),
        ),
      h(Headers, { key: "headers", headers: refusal.get("headers"), getComponent }),
    ]);
  }

  function responses(props) {
    const {
      responses,
      tryItOutResponse,
      producesValue,
      specPath,
      path,
      method,
      oas3Selectors,
      getComponent,
    } = props;
    const Response = getComponent("response");
    const refusals = responses.filter(isRefusal);
    return h(
      "div",
      { className: "responses-wrapper" },
      h(
        "div",
        { "aria-live": "polite" },
        tryItOutResponse && h(getComponent("liveResponse"), { ...props, response: tryItOutResponse }),
      ),
      h("div", { className: "opblock-section-header" }, h("h4", null, "Responses")),
      h(
        "div",
        { className: "responses-inner" },
        h(
          "table",
          { className: "responses-table" },
          h(
            "tbody",
            null,
            responses
              .filterNot(isRefusal)
              .entrySeq()
              .map(([code, response]) =>
                h(Response, {
                  ...props,
                  key: code,
                  code,
                  response,
                  specPath: specPath.push(code),
                  contentType: producesValue,
                  activeExamplesKey: oas3Selectors.activeExamplesMember(path, method, "responses", code),
                }),
              ),
          ),
        ),
        refusals.size > 0 &&
          h(
            "details",
            { className: "refusals" },
            h("summary", null, `Refusals (${refusals.size})`),
            refusals
              .entrySeq()
              .map(([status, refusal]) => h(Refusal, { key: status, status, refusal, getComponent })),
          ),
      ),
    );
  }

  const headers = (Headers) => (props) =>
    props.headers?.size > 0 &&
    h(Folded, { summary: `Headers (${props.headers.size})` }, () => h(Headers, props));

  return { components: { liveResponse, responses }, wrapComponents: { headers } };
}
