// One process that does what it is told: a line of its standard input is a verb and what belongs to it, the
// answer is one line. Whatever fails ends it, with the reason.

import { createInterface } from "node:readline";

export async function guided(verbs) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [, verb, rest] = line.match(/^(\w+) ?(.*)$/);
    console.log(`${verb}: ${await verbs[verb](rest)}`);
  }
}

const PACE_MS = 20; // fifty a second
const WAITING_MAX = 200; // a machine that cannot keep up is not buried

// Logins at a steady pace, whether or not those before have been answered.
export class Logins {
  constructor(login) {
    this.login = login;
  }

  begin() {
    this.done = 0;
    this.all = [];
    this.timer = setInterval(() => {
      if (WAITING_MAX <= this.all.length - this.done) return;
      const login = this.login().then((session) => { this.done += 1; return session; });
      login.catch((error) => { console.error(error); process.exit(1); });
      this.all.push(login);
    }, PACE_MS);
    return "begun";
  }

  count() {
    return this.done;
  }

  // Waits for those under way; what they have brought.
  async end() {
    clearInterval(this.timer);
    return Promise.all(this.all);
  }
}
