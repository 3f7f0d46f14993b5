// Makes a part of the page what a description says, and changes only what differs: focus, scroll,
// what is open and what was typed stay as they are while numbers change beside them.
//
// Text goes in as text nodes only; there is no way in here to markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "line", "rect", "circle", "g"]);

/// A description: h("p", { class: "muted" }, "rows: ", 3). `key` tells siblings apart.
export function h(tag, props, ...children) {
  const { key, ...rest } = props ?? {};
  return { tag, key: key ?? null, props: rest, children: flat(children) };
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (typeof child === "object" ? child : String(child)));
}

/// Makes the children of `parent` what `children` describes.
export function render(parent, ...children) {
  sync(parent, flat(children));
}

function sync(parent, wanted) {
  let at = parent.firstChild;
  for (const want of wanted) {
    let node = at;
    if (!matches(node, want)) {
      node = find(at, want) ?? make(want);
      parent.insertBefore(node, at);
    } else {
      at = at.nextSibling;
    }
    update(node, want);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function matches(node, want) {
  if (!node) return false;
  if (typeof want === "string") return node.nodeType === Node.TEXT_NODE;
  return node.made?.tag === want.tag && node.made.key === want.key;
}

/// A later sibling with the same key, moved rather than made again.
function find(from, want) {
  if (typeof want === "string" || want.key === null) return null;
  for (let node = from; node; node = node.nextSibling) {
    if (matches(node, want)) return node;
  }
  return null;
}

function make(want) {
  if (typeof want === "string") return document.createTextNode(want);
  const node = SVG_TAGS.has(want.tag) ? document.createElementNS(SVG, want.tag) : document.createElement(want.tag);
  node.made = { tag: want.tag, key: want.key, props: {} };
  return node;
}

function update(node, want) {
  if (typeof want === "string") {
    if (node.data !== want) node.data = want;
    return;
  }
  const { props } = node.made;
  for (const name of Object.keys(props)) {
    if (!(name in want.props)) set(node, name, null, props[name]);
  }
  for (const [name, value] of Object.entries(want.props)) {
    if (props[name] !== value) set(node, name, value, props[name]);
  }
  node.made.props = want.props;
  // An element that draws its own inside is left to it.
  if (!want.props.own) sync(node, want.children);
}

function set(node, name, value, before) {
  if (name === "own") return;
  if (name.startsWith("on")) {
    node[name.toLowerCase()] = value;
  } else if (name === "value" || name === "checked" || name === "open") {
    // What a person chose or opened stays; only another wish from us replaces it.
    if (before === undefined || (value !== before && value !== null)) node[name] = value;
  } else if (value === null || value === undefined || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}
