// The page: Swagger UI, with a masked credential and values as plain text. The policy allows no inline script.
import { plainText } from "./plain_text.js";

/** Mask the credential in the dialog and in commands to copy. */
const masked = ({ React }) => ({
  wrapComponents: {
    Input: (Original) => (props) =>
      React.createElement(Original, {
        ...props,
        ...(props.id === "auth-bearer-value" && { type: "password", autoComplete: "off" }),
      }),
    curl: (Original) => (props) => {
      const request = props.request.update("headers", (headers) =>
        headers?.map((text, name) => (name === "Authorization" ? "Bearer TOKEN" : text)),
      );
      return React.createElement(Original, { ...props, request });
    },
  },
});

const container = document.getElementById("swagger-ui");
SwaggerUIBundle({
  domNode: container,
  url: container.dataset.document,
  plugins: [masked, plainText],
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  // Otherwise Swagger UI sends the document to a validator on the internet.
  validatorUrl: null,
});
