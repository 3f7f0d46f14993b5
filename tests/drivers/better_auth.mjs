// better-auth, an authentication framework, driven through its HTTP handler as a browser would:
// sign-up to account deletion, with organizations, two factors, one-time codes and devices.
// It makes its own schema (`node better_auth.mjs migrate`), then runs the flow. `node better_auth.mjs guided`
// does what it is told on its standard input, line by line, in one process (see guided.mjs).

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import * as plugins from "better-auth/plugins";
import pg from "pg";
import { guided, Logins } from "./guided.mjs";

const ORIGIN = "http://localhost:3000";
const sent = []; // every code and token that would have gone out by mail or text message
let turn = 1; // how often the flow has begun: every time with other people
const digest = (password) => createHash("sha256").update(password).digest("hex");
const mail = (who) => `${who}${turn === 1 ? "" : turn}@example.com`;

const auth = betterAuth({
  database: new pg.Pool({ max: 4 }),
  baseURL: ORIGIN,
  secret: "a secret of this test, thirty-two bytes and more",
  logger: { level: "error" },
  telemetry: { enabled: false },
  emailAndPassword: {
    enabled: true,
    sendResetPassword: async ({ token }) => void sent.push(token),
    // Its own hash takes a tenth of a second, and fifty logins a second share two processors with the databases.
    password: { hash: async (password) => digest(password), verify: async ({ hash, password }) => hash === digest(password) },
  },
  emailVerification: { sendVerificationEmail: async ({ token }) => void sent.push(token) },
  user: {
    changeEmail: { enabled: true },
    deleteUser: { enabled: true },
    additionalFields: {
      nickname: { type: "string", required: false },
      age: { type: "number", required: false },
      labels: { type: "string[]", required: false },
      settings: { type: "json", required: false },
    },
  },
  session: { updateAge: 0 },
  rateLimit: { enabled: true, storage: "database", window: 60, max: 100_000, customRules: { "/**": { window: 60, max: 100_000 } } },
  advanced: { ipAddress: { ipAddressHeaders: ["x-forwarded-for"] } },
  plugins: [
    plugins.username(), plugins.admin(), plugins.twoFactor(), plugins.jwt(), plugins.bearer(), plugins.anonymous(),
    plugins.deviceAuthorization(), plugins.oneTimeToken(),
    plugins.organization({ teams: { enabled: true }, sendInvitationEmail: async () => {} }),
    plugins.magicLink({ sendMagicLink: async ({ token }) => void sent.push(token) }),
    plugins.emailOTP({ sendVerificationOTP: async ({ otp }) => void sent.push(otp) }),
    plugins.phoneNumber({ sendOTP: async ({ code }) => void sent.push(code) }),
  ],
});

let steps = 0;

// One visitor with a cookie jar of its own.
class Browser {
  cookies = new Map();

  constructor(address = "192.0.2.7") {
    this.address = address;
  }

  // Sends a request; the status must be one of `expected`. Returns the answer's JSON.
  async ask(path, body, expected = [200]) {
    const headers = { origin: ORIGIN, "x-forwarded-for": this.address, "user-agent": "a test's browser" };
    headers.cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    if (body) headers["content-type"] = "application/json";
    const request = new Request(`${ORIGIN}/api/auth${path}`, {
      method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body),
    });
    const answer = await auth.handler(request);
    for (const cookie of answer.headers.getSetCookie()) this.keep(cookie);
    const text = await answer.text();
    assert.ok(expected.includes(answer.status), `${path}: ${answer.status} ${text.slice(0, 300)}`);
    steps += 1;
    return text.startsWith("{") || text.startsWith("[") ? JSON.parse(text) : text;
  }

  keep(cookie) {
    const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/);
    if (value === "" || /max-age=0(;|$)/i.test(cookie)) this.cookies.delete(name);
    else this.cookies.set(name, value);
  }
}

const latest = () => sent.at(-1);

async function account(zoe) {
  await zoe.ask("/sign-up/email", {
    email: mail("zoe"), password: "first password", name: "Zoë O'Neil 😀", username: `Zoe_${turn}`,
    nickname: "z", age: 41, labels: ["a", "b'c", 'd"e'], settings: { theme: "dark", sizes: [1, 2.5], deep: { none: null } },
  });
  await zoe.ask("/sign-up/email", { email: mail("zoe"), password: "first password", name: "Twice" }, [400, 422]);
  assert.equal((await zoe.ask("/get-session")).user.name, "Zoë O'Neil 😀");
  await zoe.ask("/sign-out", {});
  await zoe.ask("/sign-in/email", { email: mail("zoe"), password: "a wrong password" }, [401]);
  await zoe.ask("/sign-in/email", { email: mail("zoe"), password: "first password" });
  await new Browser().ask("/sign-in/username", { username: `zoe_${turn}`, password: "first password" });
  await zoe.ask("/update-user", { name: "Zoë B", image: "https://example.com/z.png", labels: [], settings: null, age: 42 });
  assert.equal((await zoe.ask("/get-session")).user.age, 42);
  assert.ok((await zoe.ask("/list-sessions")).length >= 2);
  await zoe.ask("/change-password", { currentPassword: "first password", newPassword: "second password", revokeOtherSessions: true });
  await zoe.ask("/change-email", { newEmail: mail("other") });
  await zoe.ask("/request-password-reset", { email: mail("zoe"), redirectTo: "/" });
  await zoe.ask("/reset-password", { newPassword: "third password", token: latest() });
  await zoe.ask("/sign-in/email", { email: mail("zoe"), password: "third password" });
  await zoe.ask("/list-accounts");
  await zoe.ask("/send-verification-email", { email: mail("zoe") });
  await zoe.ask(`/verify-email?token=${latest()}`, undefined, [200, 302]);
}

async function otherWaysIn(zoe) {
  const code = new Browser();
  await code.ask("/email-otp/send-verification-otp", { email: mail("code"), type: "sign-in" });
  await code.ask("/sign-in/email-otp", { email: mail("code"), otp: latest() });
  const link = new Browser();
  await link.ask("/sign-in/magic-link", { email: mail("link"), callbackURL: "/" });
  await link.ask(`/magic-link/verify?token=${latest()}`, undefined, [200, 302]);
  const nobody = new Browser();
  await nobody.ask("/sign-in/anonymous", {});
  await nobody.ask("/sign-up/email", { email: mail("max"), password: "max has one", name: "Max" });
  await zoe.ask("/phone-number/send-otp", { phoneNumber: `+4670000000${turn}` });
  await zoe.ask("/phone-number/verify", { phoneNumber: `+4670000000${turn}`, code: latest(), updatePhoneNumber: true });
  await zoe.ask("/token");
  await zoe.ask("/jwks");
  await zoe.ask("/one-time-token/generate");
  const device = await zoe.ask("/device/code", { client_id: "tv", scope: "openid" });
  await zoe.ask(`/device?user_code=${device.user_code}`);
  await zoe.ask("/device/approve", { userCode: device.user_code });
  const grant = "urn:ietf:params:oauth:grant-type:device_code";
  await new Browser().ask("/device/token", { grant_type: grant, device_code: device.device_code, client_id: "tv" });
  await zoe.ask("/two-factor/enable", { password: "third password" });
}

async function organization(zoe) {
  const { id } = await zoe.ask("/organization/create", { name: "Acme", slug: `acme-${turn}`, metadata: { plan: "free" } });
  await zoe.ask("/organization/update", { organizationId: id, data: { name: "Acme & Søn" } });
  await zoe.ask("/organization/create-team", { name: "Core", organizationId: id });
  const invitation = await zoe.ask("/organization/invite-member", { organizationId: id, email: mail("max"), role: "member" });
  const max = new Browser();
  await max.ask("/sign-in/email", { email: mail("max"), password: "max has one" });
  await max.ask("/organization/accept-invitation", { invitationId: invitation.id }, [200, 403]);
  await zoe.ask("/organization/list");
  await zoe.ask(`/organization/get-full-organization?organizationId=${id}`);
  await zoe.ask(`/organization/list-members?organizationId=${id}&limit=5&sortBy=createdAt&sortDirection=desc`);
  await zoe.ask("/organization/set-active", { organizationId: id });
  return id;
}

async function administration(zoe) {
  const { internalAdapter } = await auth.$context;
  const { user } = await internalAdapter.findUserByEmail(mail("zoe"));
  await internalAdapter.updateUser(user.id, { role: "admin" });
  const made = await zoe.ask("/admin/create-user", { email: mail("made"), password: "made by admin", name: "Made", role: "user" });
  const userId = made.user.id;
  await zoe.ask("/admin/list-users?limit=10&offset=0&sortBy=createdAt&searchValue=a&searchField=email&searchOperator=contains");
  await zoe.ask("/admin/ban-user", { userId, banReason: "a reason", banExpiresIn: 60 });
  await zoe.ask("/admin/unban-user", { userId });
  await zoe.ask("/admin/impersonate-user", { userId });
  await zoe.ask("/admin/stop-impersonating", {});
  await zoe.ask("/admin/revoke-user-sessions", { userId });
  await zoe.ask("/admin/remove-user", { userId });
}

async function goodbye(zoe, organizationId) {
  await zoe.ask("/organization/delete", { organizationId });
  await zoe.ask("/two-factor/disable", { password: "third password" }, [200, 400]);
  await zoe.ask("/revoke-other-sessions", {});
  // At once, on all connections of the pool.
  await Promise.all(Array.from({ length: 8 }, () =>
    new Browser().ask("/sign-in/email", { email: mail("zoe"), password: "third password" })));
  const last = new Browser();
  await last.ask("/sign-up/email", { email: mail("brief"), password: "not for long", name: "Brief" });
  await last.ask("/delete-user", { password: "not for long" });
}

async function migrate() {
  const { runMigrations } = await getMigrations(auth.options);
  await runMigrations();
}

async function flow() {
  steps = 0;
  const zoe = new Browser();
  await account(zoe);
  await otherWaysIn(zoe);
  const id = await organization(zoe);
  await administration(zoe);
  await goodbye(zoe, id);
  return `steps ${steps}`;
}

const KEPT = { email: "kept@example.com", password: "kept for long" };
let kept = []; // browsers whose sessions have to stay

// A login, and a look at who is logged in; every visitor has another address.
let visitors = 0;
async function login() {
  const browser = new Browser(`198.51.${(visitors >> 8) & 255}.${visitors++ & 255}`);
  await browser.ask("/sign-in/email", KEPT);
  await valid(browser);
  return browser;
}

async function valid(browser) {
  const session = await browser.ask("/get-session");
  assert.equal(session?.user.email, KEPT.email, "a session is lost");
}

// All sessions are there; whether they are good is asked of every tenth.
async function stop(browsers) {
  const token = ({ cookies }) => decodeURIComponent(cookies.get("better-auth.session_token")).split(".")[0];
  const there = await auth.options.database.query("SELECT token FROM session WHERE token = ANY($1)", [browsers.map(token)]);
  assert.equal(there.rowCount, browsers.length, "sessions are lost");
  for (const browser of browsers.filter((_, at) => at % 10 === 0)) await valid(browser);
  return `logins ${browsers.length}`;
}

async function guide() {
  const logins = new Logins(login);
  await guided({
    begin: async () => new Browser().ask("/sign-up/email", { ...KEPT, name: "Kept" }).then(() => "begun"),
    flow: async (number) => { turn = Number(number); return flow(); },
    keep: async () => { const browser = await login(); kept.push(browser); return JSON.stringify([...browser.cookies]); },
    take: async (cookies) => { const browser = new Browser(); browser.cookies = new Map(JSON.parse(cookies)); kept.push(browser); return "taken"; },
    check: async () => { for (const browser of kept) await valid(browser); return `valid ${kept.length}`; },
    logins: async () => logins.begin(),
    count: async () => logins.count(),
    stop: async () => stop(await logins.end()),
  });
}

if (process.argv[2] === "migrate") {
  await migrate();
} else if (process.argv[2] === "guided") {
  await guide();
} else {
  await migrate(); // finds nothing to do
  console.log(await flow());
}
await auth.options.database.end();
