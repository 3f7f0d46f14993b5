// The last hour, drawn: an own small chart of a few lines. Hover, or the arrow keys, read a moment.

import { h } from "./dom.js";
import { state } from "./state.js";
import { clock, count, number } from "./text.js";

const WIDTH = 600;
const HEIGHT = 120;
/// What is shown, in minutes: the first span that holds every sample.
const SPANS = [10, 60];
const MINUTE = 60 * 1000;
/// Where samples are missing, the line is broken.
const GAP = 4;

const CHARTS = [
  { id: "writes", title: "Writes", unit: "/s", series: [["writes", "written"], ["carried", "carried over"]], floor: 1 },
  { id: "lag", title: "Lag", unit: " s", series: [["lag", "oldest change on the way"]], floor: 1 },
  { id: "errors", title: "Errors", unit: "", series: [["errors", "refused by the follower"], ["uncaptured", "not carried over"]], floor: 1, sum: true },
  { id: "overhead", title: "Overhead, with waits", unit: " ms", series: [["overheadP99", "99 % below"], ["overheadMedian", "median"]], floor: 0.5 },
];

/// What is pointed at, as a sample's number from the end, by chart.
const pointed = new Map();
let redraw = () => {};

export function onPoint(change) {
  redraw = change;
}

export function charts() {
  const history = state.history?.at ? state.history : null;
  const minutes = age(history) / MINUTE;
  return h("section", { class: "card", id: "charts", "aria-labelledby": "h-charts", key: "charts" },
    h("h2", { id: "h-charts" }, "The last hour", h("small", null, minutes < 59 ? `of this sidecar, ${minutes < 1 ? "less than a minute" : count(Math.floor(minutes), "minute")} so far` : "of this sidecar")),
    h("div", { class: "charts" }, CHARTS.map((chart) => one(chart, history))));
}

function one(chart, history) {
  const samples = history?.at.length ?? 0;
  const point = pointed.get(chart.id);
  const at = samples === 0 ? null : point === undefined ? samples - 1 : Math.max(0, samples - 1 - point);
  const top = scale(chart, history);
  const values = chart.series.map(([column]) => (at === null ? null : history[column][at]));
  return h("div", {
    class: "chart", key: chart.id, tabindex: 0, role: "group", "aria-label": summary(chart, history),
    onkeydown: (event) => key(event, chart, samples),
    onpointermove: (event) => over(event, chart, history),
    onpointerleave: () => leave(chart), onblur: () => leave(chart),
  },
  h("p", { class: "caption" },
    h("span", { class: "title" }, chart.title),
    h("span", { class: "when muted", "aria-live": point === undefined ? "off" : "polite" }, at === null ? "no samples yet" : point === undefined ? "now" : clock(history.at[at]))),
  h("div", { class: "values" }, chart.series.map(([, name], n) =>
    h("span", { key: name, class: `value s${n}` },
      h("i", { class: `line s${n}`, "aria-hidden": "true" }),
      h("b", null, values[n] === null || values[n] === undefined ? "–" : `${number(values[n])}${chart.unit}`),
      h("span", { class: "muted" }, name)))),
  h("div", { class: "plot", "aria-hidden": "true" },
    h("span", { class: "tick top" }, `${number(top)}${chart.unit}`),
    h("span", { class: "tick bottom" }, "0"),
    h("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" },
      h("path", { class: "grid", d: `M0 .5H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 0.5}H${WIDTH}` }),
      history ? chart.series.map(([column], n) => line(history, column, n, top)) : null,
      point !== undefined && at !== null ? h("path", { class: "cross", d: `M${x(history, at)} 0V${HEIGHT}` }) : null)),
  h("div", { class: "axis muted", "aria-hidden": "true" }, axis(history).map((text) => h("span", { key: text }, text))));
}

/// Since the first sample, in milliseconds.
function age(history) {
  return history?.at.length ? end(history) - history.at[0] : 0;
}

function span(history) {
  return (SPANS.find((minutes) => age(history) <= minutes * MINUTE) ?? SPANS.at(-1)) * MINUTE;
}

function axis(history) {
  const minutes = span(history) / MINUTE;
  return [minutes === 60 ? "1 h ago" : `${minutes} min ago`, `${minutes / 2} min`, "now"];
}

function end(history) {
  const step = history.everySeconds * 1000;
  return Math.max(Math.floor(Date.now() / step) * step, history.at.at(-1) ?? 0);
}

function x(history, n) {
  return Math.round((WIDTH - ((end(history) - history.at[n]) / span(history)) * WIDTH) * 10) / 10;
}

function line(history, column, n, top) {
  const { at, everySeconds } = history;
  const values = history[column];
  let [path, area, from, last] = ["", "", null, null];
  const close = () => {
    if (from !== null) area += `V${HEIGHT}H${from}Z`;
    from = null;
  };
  for (let i = 0; i < at.length; i += 1) {
    const value = values[i];
    if (value === null || value === undefined) continue;
    const [left, high] = [x(history, i), Math.round((HEIGHT - (Math.min(value, top) / top) * (HEIGHT - 2) - 1) * 10) / 10];
    const gap = last === null || at[i] - at[last] > everySeconds * 1000 * GAP;
    if (gap) {
      close();
      from = left;
      path += `M${left} ${high}h.01`;
      area += `M${left} ${HEIGHT}V${high}`;
    } else {
      path += `L${left} ${high}`;
      area += `L${left} ${high}`;
    }
    last = i;
  }
  close();
  return h("g", { key: column }, h("path", { class: `area s${n}`, d: area }), h("path", { class: `stroke s${n}`, d: path }));
}

/// A round number that nothing exceeds.
function scale(chart, history) {
  let most = 0;
  for (const [column] of chart.series) {
    for (const value of history?.[column] ?? []) if (value > most) most = value;
  }
  if (most <= chart.floor) return chart.floor;
  const ten = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * ten).find((step) => step >= most);
}

function summary(chart, history) {
  if (!history?.at.length) return `${chart.title}: no samples yet`;
  const parts = chart.series.map(([column, name]) => {
    const values = history[column].filter((value) => value !== null);
    if (values.length === 0) return `${name}: none`;
    const most = Math.max(...values);
    if (chart.sum) return `${name}: ${number(values.reduce((sum, value) => sum + value, 0))} in all`;
    return `${name}: now ${number(values.at(-1))}${chart.unit}, at most ${number(most)}${chart.unit}`;
  });
  return `${chart.title}, the last hour. ${parts.join("; ")}. Arrow keys read earlier moments.`;
}

function over(event, chart, history) {
  if (!history?.at.length || event.pointerType === "touch" && event.buttons === 0) return;
  const plot = event.currentTarget.querySelector("svg").getBoundingClientRect();
  const when = end(history) - (1 - (event.clientX - plot.left) / plot.width) * span(history);
  let best = 0;
  for (let i = 0; i < history.at.length; i += 1) {
    if (Math.abs(history.at[i] - when) < Math.abs(history.at[best] - when)) best = i;
  }
  pointed.set(chart.id, history.at.length - 1 - best);
  redraw();
}

function leave(chart) {
  if (pointed.delete(chart.id)) redraw();
}

function key(event, chart, samples) {
  const steps = { ArrowLeft: 1, ArrowRight: -1, PageUp: 60, PageDown: -60 };
  if (event.key === "Escape") return leave(chart);
  if (!(event.key in steps) || samples === 0) return undefined;
  event.preventDefault();
  const next = (pointed.get(chart.id) ?? 0) + steps[event.key];
  pointed.set(chart.id, Math.min(Math.max(next, 0), samples - 1));
  return redraw();
}
