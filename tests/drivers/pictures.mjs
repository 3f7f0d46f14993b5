// Takes the dashboard's pictures for docs/pictures, of a sidecar that runs:
//
//   CHROMIUM=/usr/bin/chromium node pictures.mjs http://127.0.0.1:9100 TOKEN ../../docs/pictures NAME...
//
// NAME is one of those below; each is of what the sidecar says at that moment. All but `trouble` wait until the
// gates of the switchover are open.
import { chromium } from "playwright-core";

const [site, token, directory, ...names] = process.argv.slice(2);
const desk = { width: 1280, height: 1440 };
const phone = { width: 390, height: 844 };
const PICTURES = {
  light: { viewport: desk, colorScheme: "light" },
  dark: { viewport: desk, colorScheme: "dark" },
  phone: { viewport: phone, colorScheme: "light" },
  trouble: { viewport: desk, colorScheme: "light", at: "#tables" },
};
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--force-color-profile=srgb"] });
for (const name of names) {
  const { at, ...look } = PICTURES[name];
  const context = await browser.newContext({ ...look, locale: "en-GB" });
  const page = await context.newPage();
  await page.addInitScript((secret) => sessionStorage.setItem("crossfade-token", secret), token);
  await page.goto(site);
  await page.getByText("live", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Lock changes" }).waitFor();
  await page.locator(".stroke").first().waitFor({ state: "attached" });
  if (!at) await page.getByText("All gates are open.").waitFor();
  if (at) {
    await page.getByRole("button", { name: "Open" }).first().click();
    await page.locator(at).evaluate((element) => element.scrollIntoView());
  }
  await page.screenshot({ path: `${directory}/dashboard-${name}.png`, animations: "disabled" });
  await context.close();
}
await browser.close();
