// What the scripts of this folder share, as `checking.py` has it for the others: places, marks, and how checks are told.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import net from "node:net";

export const TIMEOUT = 25_000;
// For one check.
const SECONDS = 60;
// 8 by 8, red: a whole PNG.
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mP4z8CAFTEMLQkAKP8/wc53yE8AAAAASUVORK5CYII=";
export const PNG_SEEN = "I see image/png of 74 bytes";
export const PERSON = { name: "Ada", age: 36 };

export class Skipped extends Error {}

class Here {
  #check = "";
  #marks = 0;

  constructor(place) {
    Object.assign(this, place);
    this.direct = this.wire === "direct";
  }

  begin(check) {
    this.#check = check;
    this.#marks = 0;
  }

  /** A new one for each request; but for its last word it is the same at every place. */
  mark() {
    return `${process.pid}_${this.#check}_${this.#marks++}_${this.wire.replace(/[._]/g, "")}`;
  }

  async open(mark) {
    await control(`${this.upstream}/control/open/${mark}`);
  }

  async left(mark) {
    return (await control(`${this.upstream}/control/left/${mark}`)).left;
  }

  /** The secret of a new key of Posthouse's. */
  async newKey(wish) {
    const headers = { authorization: `Bearer ${this.key}`, "content-type": "application/json" };
    const body = JSON.stringify({ name: "peer", ...wish });
    return (await control(`${this.root}/admin/api/keys`, { method: "POST", headers, body })).key;
  }
}

async function control(url, options = {}) {
  const answer = await fetch(url, { ...options, signal: AbortSignal.timeout(TIMEOUT) });
  assert.ok(answer.ok, `${url}: ${answer.status}`);
  return answer.json();
}

/** A check with a place that it suits. */
const where = (suits) => (check) => {
  const own = check.suits ?? (() => true);
  return { name: check.name, run: check.run ?? check, suits: (here) => own(here) && suits(here) };
};
export const through = where((here) => !here.direct);
export const near = where((here) => here.near);
export const able = where((here) => here.wire !== "completions");

export const same = (found, wanted) => assert.deepEqual(found, wanted);

/** What a call throws, which must be of the kind. */
export async function throws(kind, call) {
  let result;
  try {
    result = await call();
  } catch (error) {
    assert.ok(error instanceof kind, `${error?.constructor?.name}: ${error?.message}`);
    return error;
  }
  throw new assert.AssertionError({ message: `no exception, but ${JSON.stringify(result)?.slice(0, 300)}` });
}

/** Nothing in this process may speak to another machine. */
function guard() {
  const connect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (...given) {
    const options = Array.isArray(given[0]) ? given[0][0] : given[0];
    if (options?.host && !["127.0.0.1", "localhost", "::1"].includes(options.host)) {
      process.stderr.write(`reaches out to ${options.host}\n`);
      throw new Error(`this check may not reach ${options.host}`);
    }
    return connect.apply(this, given);
  };
}

const tell = (members) => process.stdout.write(`${JSON.stringify(members)}\n`);

/** Runs every check at every place that suits it. */
export async function run(name, checks) {
  guard();
  const folder = new URL(`./node_modules/${name}/package.json`, import.meta.url);
  tell({ version: JSON.parse(readFileSync(folder, "utf8")).version });
  for (const here of JSON.parse(process.env.PEER_PLACES).map((place) => new Here(place))) {
    for (const check of checks.map(where(() => true)).filter((check) => check.suits(here))) {
      here.begin(check.name);
      const [outcome, why] = await outcomeOf(check, here);
      tell({ check: check.name, wire: here.wire, outcome, why });
    }
  }
  tell({ end: true });
  process.exit(0);
}

async function outcomeOf(check, here) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not done within ${SECONDS} s`)), SECONDS * 1000);
  });
  try {
    await Promise.race([check.run(here), late]);
    return ["passed", ""];
  } catch (error) {
    if (error instanceof Skipped) return ["skipped", error.message];
    const line = (error?.stack ?? "").split("\n").find((one) => /\/(openai|anthropic|vercel)\.mjs/.test(one)) ?? "";
    return ["failed", `${error?.constructor?.name}: ${error?.message?.slice(0, 500)} ${line.trim()}`];
  } finally {
    clearTimeout(timer);
  }
}
