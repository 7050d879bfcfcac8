// The top of the page: links to the documents and the license. A single media type is text, not a menu.
export const header = ({ problems }) =>
  function plugin({ React, getSystem }) {
    const h = React.createElement;

    function InfoUrl({ url }) {
      const license = getSystem().specSelectors.info().get("license");
      return h(
        "nav",
        { className: "documents", "aria-label": "Documents" },
        h("a", { href: url }, "OpenAPI document"),
        h("a", { href: problems }, "Problems"),
        license && h("a", { href: license.get("url"), rel: "noreferrer" }, `License: ${license.get("name")}`),
      );
    }

    const contentType = (ContentType) =>
      function MediaType(props) {
        const { contentTypes, value, onChange } = props;
        const [only, ...others] = contentTypes;
        React.useEffect(() => {
          if (only && value !== only && !others.length) onChange(only);
        });
        return only && !others.length ? h("code", { className: "media-type" }, only) : h(ContentType, props);
      };

    // Some spelling checkers send text to a server.
    const TextArea = (Original) => (props) =>
      h(Original, {
        "aria-label": "Body",
        spellCheck: false,
        rows: String(props.value).split("\n").length + 1,
        ...props,
      });
    const ExamplesSelect = (Original) => (props) => h("label", { className: "examples" }, h(Original, props));

    // The rule about fields that exclude each other is in words in their descriptions.
    const ModelWrapper = (Original) => (props) =>
      h(Original, { ...props, schema: props.schema?.delete("not") });

    const info = (Original) => (props) => h("header", { role: "banner" }, h(Original, props));

    return {
      components: { InfoUrl },
      wrapComponents: { contentType, ExamplesSelect, info, ModelWrapper, TextArea },
    };
  };
