// What MySQL does not serve. There it has to be refused with 0A000; what PostgreSQL
// makes of it is printed between two marks. README.md lists each.

import assert from "node:assert/strict";
import { once } from "node:events";

export async function unserved(what, body) {
  console.log(`unserved: ${what}`);
  if (process.env.ANSWERS === "mysql") {
    const error = await Promise.resolve().then(body).then(() => assert.fail(`${what} was served`), (error) => error);
    assert.equal(error.code, "0A000", `${what}: ${error}`);
  } else {
    await body();
  }
  console.log("served");
}

// Fields of an error. MySQL does not know where in the text it is, nor what may help; `ANSWERS` is set wherever what
// the two print is compared.
export function told(error, fields, positions) {
  const names = process.env.ANSWERS ? fields : [...fields, ...positions];
  return Object.fromEntries(names.map((name) => [name, error[name]]));
}

// Where the primary is to change under the connections that there are: until it has.
export async function change() {
  if (!process.env.CHANGES) return;
  console.log("connected");
  await once(process.stdin, "data");
  process.stdin.destroy();
}
