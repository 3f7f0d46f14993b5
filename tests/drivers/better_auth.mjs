// better-auth, an authentication framework, driven through its HTTP handler as a browser would:
// sign-up to account deletion, with organizations, two factors, one-time codes and devices.
// It makes its own schema (`node better_auth.mjs migrate`), then runs the flow.

import assert from "node:assert/strict";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import * as plugins from "better-auth/plugins";
import pg from "pg";

const ORIGIN = "http://localhost:3000";
const sent = []; // every code and token that would have gone out by mail or text message

const auth = betterAuth({
  database: new pg.Pool({ max: 4 }),
  baseURL: ORIGIN,
  secret: "a secret of this test, thirty-two bytes and more",
  logger: { level: "error" },
  telemetry: { enabled: false },
  emailAndPassword: { enabled: true, sendResetPassword: async ({ token }) => void sent.push(token) },
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

  // Sends a request; the status must be one of `expected`. Returns the answer's JSON.
  async ask(path, body, expected = [200]) {
    const headers = { origin: ORIGIN, "x-forwarded-for": "192.0.2.7", "user-agent": "a test's browser" };
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
const EMAIL = "zoe@example.com";

async function account(zoe) {
  await zoe.ask("/sign-up/email", {
    email: EMAIL, password: "first password", name: "Zoë O'Neil 😀", username: "Zoe_1",
    nickname: "z", age: 41, labels: ["a", "b'c", 'd"e'], settings: { theme: "dark", sizes: [1, 2.5], deep: { none: null } },
  });
  await zoe.ask("/sign-up/email", { email: EMAIL, password: "first password", name: "Twice" }, [400, 422]);
  assert.equal((await zoe.ask("/get-session")).user.name, "Zoë O'Neil 😀");
  await zoe.ask("/sign-out", {});
  await zoe.ask("/sign-in/email", { email: EMAIL, password: "a wrong password" }, [401]);
  await zoe.ask("/sign-in/email", { email: EMAIL, password: "first password" });
  await new Browser().ask("/sign-in/username", { username: "zoe_1", password: "first password" });
  await zoe.ask("/update-user", { name: "Zoë B", image: "https://example.com/z.png", labels: [], settings: null, age: 42 });
  assert.equal((await zoe.ask("/get-session")).user.age, 42);
  assert.ok((await zoe.ask("/list-sessions")).length >= 2);
  await zoe.ask("/change-password", { currentPassword: "first password", newPassword: "second password", revokeOtherSessions: true });
  await zoe.ask("/change-email", { newEmail: "other@example.com" });
  await zoe.ask("/request-password-reset", { email: EMAIL, redirectTo: "/" });
  await zoe.ask("/reset-password", { newPassword: "third password", token: latest() });
  await zoe.ask("/sign-in/email", { email: EMAIL, password: "third password" });
  await zoe.ask("/list-accounts");
  await zoe.ask("/send-verification-email", { email: EMAIL });
  await zoe.ask(`/verify-email?token=${latest()}`, undefined, [200, 302]);
}

async function otherWaysIn(zoe) {
  const code = new Browser();
  await code.ask("/email-otp/send-verification-otp", { email: "code@example.com", type: "sign-in" });
  await code.ask("/sign-in/email-otp", { email: "code@example.com", otp: latest() });
  const link = new Browser();
  await link.ask("/sign-in/magic-link", { email: "link@example.com", callbackURL: "/" });
  await link.ask(`/magic-link/verify?token=${latest()}`, undefined, [200, 302]);
  const nobody = new Browser();
  await nobody.ask("/sign-in/anonymous", {});
  await nobody.ask("/sign-up/email", { email: "max@example.com", password: "max has one", name: "Max" });
  await zoe.ask("/phone-number/send-otp", { phoneNumber: "+46700000001" });
  await zoe.ask("/phone-number/verify", { phoneNumber: "+46700000001", code: latest(), updatePhoneNumber: true });
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
  const { id } = await zoe.ask("/organization/create", { name: "Acme", slug: "acme", metadata: { plan: "free" } });
  await zoe.ask("/organization/update", { organizationId: id, data: { name: "Acme & Søn" } });
  await zoe.ask("/organization/create-team", { name: "Core", organizationId: id });
  const invitation = await zoe.ask("/organization/invite-member", { organizationId: id, email: "max@example.com", role: "member" });
  const max = new Browser();
  await max.ask("/sign-in/email", { email: "max@example.com", password: "max has one" });
  await max.ask("/organization/accept-invitation", { invitationId: invitation.id }, [200, 403]);
  await zoe.ask("/organization/list");
  await zoe.ask(`/organization/get-full-organization?organizationId=${id}`);
  await zoe.ask(`/organization/list-members?organizationId=${id}&limit=5&sortBy=createdAt&sortDirection=desc`);
  await zoe.ask("/organization/set-active", { organizationId: id });
  return id;
}

async function administration(zoe) {
  const { internalAdapter } = await auth.$context;
  const { user } = await internalAdapter.findUserByEmail(EMAIL);
  await internalAdapter.updateUser(user.id, { role: "admin" });
  const made = await zoe.ask("/admin/create-user", { email: "made@example.com", password: "made by admin", name: "Made", role: "user" });
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
    new Browser().ask("/sign-in/email", { email: EMAIL, password: "third password" })));
  const last = new Browser();
  await last.ask("/sign-up/email", { email: "brief@example.com", password: "not for long", name: "Brief" });
  await last.ask("/delete-user", { password: "not for long" });
}

async function migrate() {
  const { runMigrations } = await getMigrations(auth.options);
  await runMigrations();
}

if (process.argv[2] === "migrate") {
  await migrate();
} else {
  await migrate(); // finds nothing to do
  const zoe = new Browser();
  await account(zoe);
  await otherWaysIn(zoe);
  const id = await organization(zoe);
  await administration(zoe);
  await goodbye(zoe, id);
  console.log(`steps ${steps}`);
}
await auth.options.database.end();
