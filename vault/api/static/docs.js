// A file of its own and no inline script: the page's Content-Security-Policy allows none.
const container = document.getElementById("swagger-ui");

window.ui = SwaggerUIBundle({
  domNode: container,
  url: container.dataset.document,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "list",
  // Without this, Swagger UI asks a validator on the internet about the document.
  validatorUrl: null,
});
