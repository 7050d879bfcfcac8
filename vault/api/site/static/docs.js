// The page: Swagger UI with plugins of its own. The Content-Security-Policy allows no inline script.
import { access } from "./access.js";
import { examples } from "./examples.js";
import { header } from "./header.js";
import { plainText } from "./plain_text.js";
import { replies } from "./replies.js";

const container = document.getElementById("swagger-ui");

// Only Swagger UI's top bar enables its dark colours, and this page has no top bar.
const dark = matchMedia("(prefers-color-scheme: dark)");
const followBrowser = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followBrowser);
followBrowser();

SwaggerUIBundle({
  domNode: container,
  url: container.dataset.document,
  plugins: [header(container.dataset), access(container.dataset), examples, plainText, replies],
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  defaultModelExpandDepth: 2,
  docExpansion: "list",
  syntaxHighlight: { theme: "nord" },
  // Otherwise Swagger UI sends the document to a validator on the internet.
  validatorUrl: null,
});
