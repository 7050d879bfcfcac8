// In a separate file, because the page's Content-Security-Policy allows no inline script.
const container = document.getElementById("swagger-ui");

// Only Swagger UI's top bar enables its dark colours, and this page has no top bar.
const dark = matchMedia("(prefers-color-scheme: dark)");
const followBrowser = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followBrowser);
followBrowser();

const idOperations = {
  "/vault/secret/fetch": {},
  "/vault/secret/update": { secret: "bXlfbmV3X3Bhc3N3b3Jk", expected_version: 1 },
  "/vault/secret/describe": {},
  "/vault/secret/delete": {},
  "/vault/secret/restore": {},
  "/vault/secret/purge": {},
};

window.ui = SwaggerUIBundle({
  domNode: container,
  url: container.dataset.document,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "list",
  // Otherwise Swagger UI sends the document to a validator on the internet.
  validatorUrl: null,
  // After a create, fill in the secret's ID for all operations that take one.
  responseInterceptor: (reply) => {
    if (reply.ok && reply.url.includes("/vault/secret/create") && reply.body?.secret_id) {
      const { setRequestBodyValue, setRetainRequestBodyValueFlag } = window.ui.getSystem().oas3Actions;
      for (const [path, more] of Object.entries(idOperations)) {
        const pathMethod = [path, "post"];
        const value = JSON.stringify({ secret_id: reply.body.secret_id, ...more }, null, 2);
        setRetainRequestBodyValueFlag({ pathMethod, value: true });
        setRequestBodyValue({ pathMethod, value });
      }
    }
    return reply;
  },
});
