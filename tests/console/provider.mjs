// A provider of OpenID Connect: any name signs in. Arguments: its port, and the redirect URIs of the client.
import Provider from "oidc-provider";

const [port, ...redirectUris] = process.argv.slice(2);
const issuer = `http://localhost:${port}`;
const GROUPS = { both: ["readers", "admins"], alice: ["readers"] };

const provider = new Provider(issuer, {
  clients: [{ client_id: "console", client_secret: "a-secret:+%", redirect_uris: redirectUris }],
  claims: { openid: ["sub", "groups"], email: ["email"] },
  conformIdTokenClaims: false,
  cookies: { keys: ["test"] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: GROUPS[id] ?? [] }) }),
  // No page asks for consent.
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid email");
    await grant.save();
    return grant;
  },
});

// `/clock?N` sets the clock of the provider N seconds ahead.
const now = Date.now;
provider.use(async (ctx, next) => {
  if (ctx.path === "/clock") {
    Date.now = () => now() + Number(ctx.querystring) * 1000;
    ctx.status = 204;
    return;
  }
  await next();
});
provider.listen(Number(port), "127.0.0.1");
