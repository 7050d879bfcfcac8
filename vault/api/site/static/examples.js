// Examples that succeed as sent: with the ID of the newest secret, and by name only with a credential.
import { parsed } from "./json.js";

/** Return an example's *value* with the IDs and the version of the newest secrets. */
function fill(value, newest) {
  if (Array.isArray(value)) {
    const [first] = value;
    return first?.secret_id ? newest.ids.map((secret_id) => ({ ...first, secret_id })) : value;
  }
  if (value === null || typeof value !== "object") return value;
  const filled = Object.fromEntries(
    Object.entries(value).map(([name, below]) => [name, fill(below, newest)]),
  );
  if ("secret_id" in value) [filled.secret_id] = newest.ids;
  if ("expected_version" in value) filled.expected_version = newest.version;
  return filled;
}

/** Return *body* with the changes of the example from *before* to *after*, except where it was edited. */
function follow(body, before, after) {
  const same = (name) => JSON.stringify(body[name]) === JSON.stringify(before[name]);
  return Object.fromEntries(
    Object.entries(body).map(([name, value]) => [name, same(name) ? after[name] : value]),
  );
}

/** Return the secrets that a *reply* tells about. */
function newestIn(reply) {
  const secrets = (reply.secrets ?? [reply]).filter((secret) => secret.secret_id);
  return (
    secrets.length && { ids: secrets.map((secret) => secret.secret_id), version: secrets[0].version ?? 1 }
  );
}

export function examples({ Im, React }) {
  const ordered = (value) =>
    Im.fromJS(value, (_, found) => (Im.isKeyed(found) ? found.toOrderedMap() : found.toList()));

  /** Return the request *body* of the document with examples that fit. */
  function fit(body, newest, anonymous) {
    const filled = (value) => (newest ? ordered(fill(value.toJS(), newest)) : value);
    return body.update("content", (content) =>
      content.map((media) => {
        const examples = media
          .get("examples")
          ?.filterNot((example) => anonymous && example.get("x-requires-credential"))
          .map((example) => example.update("value", filled));
        if (examples) return media.set("examples", examples);
        return media.has("example") ? media.update("example", filled) : media;
      }),
    );
  }

  const cache = new WeakMap();

  /** Return what is *found* in the document at *path* with examples that fit. Each key press asks for it. */
  function fitted(found, path, newest, anonymous) {
    const cached = cache.get(found);
    if (cached && cached.newest === newest && cached.anonymous === anonymous) return cached.result;
    let result = found;
    if (path.at(-1) === "requestBody") result = fit(found, newest, anonymous);
    else if (found.has("requestBody"))
      result = found.update("requestBody", (body) => fit(body, newest, anonymous));
    cache.set(found, { newest, anonymous, result });
    return result;
  }

  /** Yield each body that was shown, with its operation, its example now, and how to get that again. */
  function* shown({ specSelectors, oas3Selectors }) {
    for (const [path, methods] of specSelectors.paths()) {
      for (const method of methods.keys()) {
        const body = parsed(oas3Selectors.requestBodyValue(path, method));
        const example = () => parsed(oas3Selectors.selectDefaultRequestBodyValue(path, method));
        const before = example();
        if (Im.isPlainObject(body) && before) yield { pathMethod: [path, method], body, before, example };
      }
    }
  }

  // An open operation is not rendered again when the examples change, but its body is.
  const RequestBody =
    (Original, { specSelectors, oas3Selectors }) =>
    (props) => {
      const [, path, method] = props.specPath;
      return React.createElement(Original, {
        ...props,
        requestBody: specSelectors.specResolvedSubtree(props.specPath.toJS()),
        userHasEditedBody: oas3Selectors.hasUserEditedBody(path, method),
      });
    };

  return {
    wrapComponents: { RequestBody },
    statePlugins: {
      page: {
        actions: { setNewest: (newest) => ({ type: "page_set_newest", payload: newest }) },
        reducers: { page_set_newest: (state, { payload }) => state.set("newest", payload) },
        selectors: { newest: (state) => state.get("newest") },
      },
      spec: {
        wrapSelectors: {
          specResolvedSubtree:
            (original, { pageSelectors, authSelectors }) =>
            (_, path) => {
              const found = original(path);
              if (!found || path[0] !== "paths") return found;
              return fitted(found, path, pageSelectors.newest(), !authSelectors.authorized().size);
            },
        },
        wrapActions: {
          // After a create or an update, the other operations get the ID.
          setResponse:
            (original, { getSystem }) =>
            (path, method, response) => {
              original(path, method, response);
              const { specSelectors, oas3Actions, pageActions } = getSystem();
              const scope = specSelectors.specJson().getIn(["paths", path, method, "x-scope"]);
              const newest = response.ok && /^secret:(create|update)$/.test(scope) && newestIn(response.body);
              if (!newest) return;
              const bodies = [...shown(getSystem())];
              pageActions.setNewest(newest);
              for (const { pathMethod, body, before, example } of bodies) {
                const value = JSON.stringify(follow(body, before, example()), null, 2);
                oas3Actions.setRequestBodyValue({ pathMethod, value });
              }
            },
        },
      },
    },
  };
}
