// A person with a browser, for tests: reads one order a line, answers each with a line.
//
//   {"do":"click","role":"button","name":"Verify all"}   ->   {"ok":null} or {"failed":"why, and what the page says"}
//
// What a person would wait for is waited for; nothing sleeps. Everything that the page logs as an error,
// and every request to elsewhere, is kept and told at the end.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const patience = Number(process.env.PATIENCE_MS);
const site = process.env.SITE;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--force-color-profile=srgb", "--disable-dev-shm-usage"],
});
const complaints = [];
let page;

async function open({ width = 1360, height = 900, scheme = "light", path = "/" }) {
  await page?.context().close();
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, locale: "en-GB" });
  context.setDefaultTimeout(patience);
  page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(`error in the page: ${error.message}`));
  page.on("console", (said) => {
    // An answer that is no success is told here by the browser; the page shows it.
    if (said.type() === "error" && !said.text().startsWith("Failed to load resource")) complaints.push(said.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(site) && !request.url().startsWith("data:")) complaints.push(`request to ${request.url()}`);
  });
  await page.goto(site + path);
}

function by({ role, name, within, exact = true }) {
  const place = within ? page.getByRole(within.role ?? "region", { name: within.name, exact: within.exact ?? true }) : page;
  return place.getByRole(role, { name, exact });
}

/// Answers of the sidecar that the test gives itself, by path; what was sent to them is kept.
const played = new Map();
const sent = [];

async function play(route) {
  const request = route.request();
  const answer = played.get(new URL(request.url()).pathname);
  if (request.method() === "POST") sent.push({ path: new URL(request.url()).pathname, headers: request.headers(), body: request.postDataJSON() });
  if (answer.hangs) return;
  await route.fulfill({ status: answer.status ?? 200, json: answer.json });
}

const orders = {
  open,
  async plays({ path, json, status, hangs }) {
    if (!played.has(path)) await page.route((url) => url.pathname === path, play);
    played.set(path, { json, status, hangs });
  },
  sent: () => sent.splice(0),
  reload: () => page.reload(),
  click: (order) => by(order).click(),
  // For what stands behind a button that cannot be pressed.
  async disabled(order) {
    await page.waitForFunction((element) => element.disabled, await by(order).elementHandle());
  },
  async enabled(order) {
    await page.waitForFunction((element) => !element.disabled, await by(order).elementHandle());
  },
  fill: ({ label, text }) => page.getByLabel(label, { exact: true }).fill(text),
  choose: ({ label, option }) => page.getByLabel(label, { exact: true }).selectOption(option),
  press: ({ key }) => page.keyboard.press(key),
  // Waits until the part of the page says this.
  sees: ({ role = "region", name, text, exact = false }) =>
    page.getByRole(role, { name, exact }).filter({ hasText: text, visible: true }).first().waitFor(),
  reads: ({ text }) => page.getByText(text).filter({ visible: true }).first().waitFor(),
  // What holds at once, for absence.
  count: async (order) => by(order).count(),
  text: ({ selector }) => page.locator(selector).first().innerText(),
  evaluate: ({ script }) => page.evaluate(script),
  // What a page of another site can have this browser send.
  async foreign({ path }) {
    const server = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<title>other</title>"));
    await new Promise((resolve) => server.listen(0, "localhost", resolve));
    const context = await browser.newContext();
    const other = await context.newPage();
    // Another host than 127.0.0.1, so another site.
    await other.goto(`http://localhost:${server.address().port}/`);
    const sent = await other.evaluate(async (url) => {
      const tries = [
        { method: "POST", mode: "no-cors", body: "{}" },
        { method: "POST", mode: "no-cors", headers: { "Content-Type": "text/plain" }, body: '{"tables":[]}' },
        { method: "POST", mode: "cors", headers: { "Content-Type": "application/json" }, body: "{}" },
        { method: "GET", mode: "cors" },
      ];
      const seen = [];
      for (const one of tries) {
        seen.push(await fetch(url, one).then((answer) => `${answer.type} ${answer.status}`, () => "refused"));
      }
      const form = Object.assign(document.createElement("form"), { method: "POST", action: url, enctype: "text/plain" });
      document.body.append(form);
      form.submit();
      return seen;
    }, site + path);
    await other.waitForURL(site + path);
    sent.push(await other.evaluate(() => document.body.innerText));
    await context.close();
    server.close();
    return sent;
  },
  // Faults that a machine finds: names, roles, contrast. The page's policy lets no script in but its own,
  // so axe runs in the browser's own world beside it.
  async axe() {
    const cdp = await page.context().newCDPSession(page);
    const { frameTree } = await cdp.send("Page.getFrameTree");
    const { executionContextId } = await cdp.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id, worldName: "axe" });
    const run = async (expression) => {
      const { result, exceptionDetails } = await cdp.send("Runtime.evaluate", { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    };
    await run(`${axe}; 0`);
    const found = await run("axe.run().then((r) => r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join('; ')}`))");
    await cdp.detach();
    return found;
  },
  // The contrast of every text with its ground, worked out here: what axe leaves open as well.
  contrast: () => page.evaluate(contrasts),
  // No part may stick out to the side.
  sticksOut: () => page.evaluate(() => {
    const wide = document.documentElement.clientWidth;
    return [...document.querySelectorAll("body *")].filter((element) => {
      const box = element.getBoundingClientRect();
      return box.width > 1 && box.right > wide + 1 && !element.closest(".unseen, .skip, .wide");
    }).map((element) => `${element.tagName}.${element.className}`).slice(0, 10);
  }),
  complaints: () => complaints.splice(0),
};

/// Texts below 4.5 (3 where they are large), with what they are.
function contrasts() {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((part, n) => part * a + under[n] * (1 - a));
  const light = (color) => {
    const [r, g, b] = color.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(parse(getComputedStyle(at).backgroundColor));
    return layers.reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const found = [];
  let texts = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility() || element.closest(".unseen, noscript, option")) continue;
    texts += 1;
    const style = getComputedStyle(element);
    const [under, size] = [ground(element), parseFloat(style.fontSize)];
    const [a, b] = [light(over(parse(style.color), under)), light(under)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className}: ${walk.currentNode.data.slice(0, 40)}`);
  }
  return { texts, found };
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  let answer;
  try {
    answer = { ok: (await orders[order.do](order)) ?? null };
  } catch (error) {
    const says = await page?.locator("body").innerText().catch(() => "");
    answer = { failed: `${error.message}\n--- the page says ---\n${says}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
