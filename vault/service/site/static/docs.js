// The page: Swagger UI, with a masked credential and values as plain text. The policy allows no inline script.
import { plainText } from "./plain_text.js";

/** Mask the credential in the dialog; commands to copy take it from the variable `TOKEN`. */
const masked = ({ React, fn }) => ({
  wrapComponents: {
    Input: (Original) => (props) =>
      React.createElement(Original, {
        ...props,
        ...(props.id === "auth-bearer-value" && { type: "password", autoComplete: "off" }),
      }),
    curl: () =>
      function Curl({ request, getComponent }) {
        const h = React.createElement;
        const named = request.update("headers", (headers) =>
          headers?.map((text, name) => (name === "Authorization" ? "Bearer $TOKEN" : text)),
        );
        // Between single quotes, a shell would not look for the variable.
        const command = fn
          .requestSnippetGenerator_curl_bash(named)
          .replace("'Authorization: Bearer $TOKEN'", '"Authorization: Bearer $TOKEN"');
        return h(
          "div",
          { className: "curl-command" },
          h("h4", null, "Curl"),
          h(getComponent("CopyToClipboardBtn", true), { textToCopy: command }),
          h("pre", { className: "curl microlight" }, command),
        );
      },
  },
});

/** Show a padlock as closed only with a credential: to Swagger UI, no credential satisfies an optional one. */
const padlocks = {
  statePlugins: {
    auth: {
      wrapSelectors: {
        isAuthorized: (original) => (_, security) => original(security?.filter((needed) => needed.size)),
      },
    },
  },
};

/** Return the content types of all replies at *path*. */
function accepted(path) {
  return path.startsWith("/v1/") ? "application/json" : "application/json, application/problem+json";
}

const container = document.getElementById("swagger-ui");
SwaggerUIBundle({
  domNode: container,
  url: container.dataset.document,
  plugins: [masked, padlocks, plainText],
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  requestInterceptor: (request) => {
    if (!request.loadSpec) request.headers.accept = accepted(new URL(request.url).pathname);
    return request;
  },
  // Otherwise Swagger UI sends the document to a validator on the internet.
  validatorUrl: null,
});
