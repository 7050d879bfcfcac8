// A file of its own and no inline script: the page's Content-Security-Policy allows none.
const container = document.getElementById("swagger-ui");

// Swagger UI has dark colours, but only its top bar, which this page does without, switches them on.
const dark = matchMedia("(prefers-color-scheme: dark)");
const followBrowser = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followBrowser);
followBrowser();

const takesAnId = {
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
  // Without this, Swagger UI asks a validator on the internet about the document.
  validatorUrl: null,
  // Whoever created a secret here finds its id filled in where something can be done with it.
  responseInterceptor: (reply) => {
    if (reply.ok && reply.url.includes("/vault/secret/create") && reply.body?.secret_id) {
      const { setRequestBodyValue, setRetainRequestBodyValueFlag } = window.ui.getSystem().oas3Actions;
      for (const [path, more] of Object.entries(takesAnId)) {
        const pathMethod = [path, "post"];
        const value = JSON.stringify({ secret_id: reply.body.secret_id, ...more }, null, 2);
        setRetainRequestBodyValueFlag({ pathMethod, value: true });
        setRequestBodyValue({ pathMethod, value });
      }
    }
    return reply;
  },
});
