// The page: asks the sidecar, and shows what it says, again and again.

import { doneList, onAction, tellEnded } from "./act.js";
import { charts, onPoint } from "./charts.js";
import { h, render } from "./dom.js";
import { onKeys, shadow, sidecars, statements, stuck } from "./lists.js";
import { databases, now, path, top, verdict } from "./overview.js";
import { listen, state } from "./state.js";
import { attempts, onOption, switchover } from "./switch.js";
import { onOpen, tables } from "./tables.js";
import { clock } from "./text.js";

const element = (id) => document.getElementById(id);
let drawn = false;
let said = "";

function draw() {
  drawn = false;
  render(element("top"), top());
  render(element("main"),
    now(), path(), h("div", { class: "pair", key: "pair" }, h("div", { class: "stack", key: "stack" }, databases(), sidecars(), attempts()), switchover()),
    charts(), tables(), h("div", { class: "lists", key: "lists" }, stuck(), statements(), shadow()), doneList());
  render(element("foot"), h("p", { class: "muted" }, state.heardAt ? `As of ${clock(state.heardAt)}.` : "", " The same as text: ", h("code", null, "crossfade status --watch")));
  const { kind, text } = verdict();
  document.title = `${kind === "good" ? "" : "! "}Crossfade: ${text}`;
  // Read aloud only when it changes.
  if (text !== said) {
    said = text;
    render(element("verdict-said"), text);
  }
}

/// Several changes at once are drawn once.
function soon() {
  if (drawn) return;
  drawn = true;
  setTimeout(draw, 0);
}

for (const on of [onAction, onPoint, onOption, onOpen, onKeys]) on(soon);
draw();
listen(() => {
  tellEnded();
  soon();
});
// Ages grow without an answer.
setInterval(soon, 1000);
