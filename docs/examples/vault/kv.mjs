// Create, read and list secrets over Vault's API, with node-vault.
import nodeVault from "node-vault";

const vault = nodeVault({ endpoint: "http://localhost:8000", token: process.env.VAULT_TOKEN });
await vault.write("secret/data/shop/db", { data: { user: "app", password: "a password" }, options: { cas: 0 } });
const { data: secret } = await vault.read("secret/data/shop/db");
console.log(secret.metadata.version, secret.data.user);
try {
  await vault.write("secret/data/shop/db", { data: { user: "other" }, options: { cas: 0 } });
} catch (error) {
  console.log(error.message);
}
const { data: listed } = await vault.list("secret/metadata/shop");
console.log(listed.keys);
