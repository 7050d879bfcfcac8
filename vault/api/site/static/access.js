// What an operation needs: a credential unless anonymous callers have its scope, and the scope if it has one.
export const access = ({ credentialRequired }) =>
  function plugin({ React }) {
    const h = React.createElement;

    /** Return the scope of an operation, whether it needs a credential, and whether one is set. */
    function needs({ path, method, specSelectors, authSelectors }) {
      const operation = specSelectors.specJson().getIn(["paths", path, method]);
      const scope = operation.get("x-scope");
      const security = operation.get("security");
      const anonymous = security?.some((requirement) => requirement.isEmpty());
      const credential = Boolean(security?.size) && (credentialRequired === "true" || !anonymous);
      return { scope, credential, authorized: authSelectors.authorized().size > 0 };
    }

    const showDialog = ({ authActions, authSelectors }) =>
      authActions.showDefinitions(authSelectors.definitionsToAuthorize());

    /** The scope in an operation's heading. It opens the dialog. */
    function Lock(props) {
      const { scope, credential, authorized } = needs(props);
      if (!scope && !credential) return null;
      const need = credential
        ? `Requires a credential${scope ? ` with the scope ${scope}` : ""}.`
        : `Requires no credential: anonymous callers have the scope ${scope}.`;
      const Icon = props.getComponent(credential ? "LockIcon" : "UnlockIcon");
      return h(
        "button",
        {
          type: "button",
          className: ["lock", credential && "lock--required", authorized && "lock--authorized"]
            .filter(Boolean)
            .join(" "),
          title: `${need} ${authorized ? "Yours is sent." : "Select to enter one."}`,
          onClick: () => showDialog(props),
        },
        h(Icon),
        h("span", null, credential ? "" : "anonymous or ", scope ? h("code", null, scope) : "any credential"),
      );
    }

    /** The same in a sentence, in the open operation. */
    function Needs(props) {
      const { scope, credential, authorized } = needs(props);
      if (!scope && !credential) return h("p", { className: "needs" }, "Requires no credential.");
      const code = h("code", null, scope);
      if (!credential)
        return h(
          "p",
          { className: "needs" },
          "Requires no credential: anonymous callers have the scope ",
          code,
          ".",
        );
      return h(
        "p",
        { className: "needs" },
        "Requires a credential",
        ...(scope ? [" with the scope ", code] : []),
        ". ",
        authorized
          ? "Yours is sent."
          : h("button", { type: "button", onClick: () => showDialog(props) }, "Authorize"),
      );
    }

    function OperationSummary({ isShown, toggleShown, getComponent, operationProps }) {
      const { method, path, summary } = operationProps.toObject();
      const Method = getComponent("OperationSummaryMethod");
      const Arrow = getComponent(isShown ? "ArrowUpIcon" : "ArrowDownIcon");
      return h(
        "div",
        { className: "opblock-summary" },
        h(
          "button",
          {
            type: "button",
            className: "opblock-summary-control",
            "aria-expanded": isShown,
            onClick: toggleShown,
          },
          h(Method, { method }),
          h(
            "span",
            { className: "opblock-summary-path-description-wrapper" },
            // A line may break before a slash.
            h(
              "span",
              { className: "opblock-summary-path", "data-path": path },
              path.replaceAll("/", "\u200b/"),
            ),
            h("span", { className: "opblock-summary-description" }, summary),
          ),
        ),
        h(getComponent("Lock", true), { path, method }),
        h(Arrow, { className: "arrow" }),
      );
    }

    const parameters = (Parameters) => (props) => {
      const [path, method] = props.pathMethod;
      return h(
        React.Fragment,
        null,
        h(props.getComponent("Needs", true), { path, method }),
        h(Parameters, props),
      );
    };

    /** The dialog for the credential. It stays in memory until the page is left. */
    function authorizationPopup({ authSelectors, authActions, getComponent }) {
      const dialog = React.useRef(null);
      React.useLayoutEffect(() => {
        const shown = dialog.current;
        shown.showModal();
        return () => shown.close();
      }, []);
      const [[name, schema]] = authSelectors.shownDefinitions().first().entrySeq();
      const authorized = authSelectors.authorized().has(name);
      const Markdown = getComponent("Markdown", true);
      const close = () => authActions.showDefinitions(false);
      const submit = (event) => {
        event.preventDefault();
        if (authorized) authActions.logout([name]);
        else {
          // Tools print tokens with and without the scheme.
          const value = event.target.elements.credential.value.trim().replace(/^bearer /i, "");
          authActions.authorize({ [name]: { name, schema, value } });
        }
        close();
      };
      return h(
        "dialog",
        {
          ref: dialog,
          className: "authorization",
          "aria-labelledby": "authorization-title",
          onCancel: close,
        },
        h(
          "form",
          { onSubmit: submit, autoComplete: "off" },
          h("h2", { id: "authorization-title" }, "Authorize"),
          authorized
            ? h(
                "p",
                null,
                "A credential is set. The page sends it with every request, until you log out or leave.",
              )
            : h(
                React.Fragment,
                null,
                h(Markdown, { source: schema.get("description") }),
                h("label", { htmlFor: "credential" }, "Token or JWT"),
                h("input", {
                  id: "credential",
                  type: "password",
                  autoComplete: "off",
                  spellCheck: false,
                  required: true,
                  autoFocus: true,
                  pattern: "\\s*([Bb]earer )?[!-~]+\\s*",
                  title: "Visible ASCII characters without spaces",
                }),
              ),
          h(
            "div",
            { className: "authorization-buttons" },
            h("button", { type: "submit", className: "btn authorize" }, authorized ? "Log out" : "Authorize"),
            h("button", { type: "button", className: "btn", onClick: close }, "Close"),
          ),
        ),
      );
    }

    return {
      components: { Lock, Needs, OperationSummary, authorizationPopup },
      wrapComponents: { parameters },
    };
  };
