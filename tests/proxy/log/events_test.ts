import assert from "node:assert/strict";
import { getLogger, reset } from "npm:@logtape/logtape@2.4.2";
import { EVENTS, type LogEvent } from "../../../proxy/log/events.ts";
import { configureLog } from "../../../proxy/log/log.ts";
import { callsOf, type LogCall, logCalls } from "./calls.ts";

function levelOf({ level }: LogCall): string {
  return level === "warn" ? "warning" : level;
}

function isOf(call: LogCall, event: LogEvent): boolean {
  return call.logger === event.logger && call.message === event.message &&
    levelOf(call) === event.level && call.isOpen === (event.continues ?? false);
}

Deno.test("every call of the log is an event of the table, with fields of it, and no event is without one", () => {
  const calls = logCalls();
  const wrong: string[] = [];
  for (const call of calls) {
    const event = EVENTS.find((event) => isOf(call, event));
    if (event === undefined) {
      wrong.push(
        `${call.place}: give it a name in proxy/log/events.ts, then deno task docs:tables: ${
          levelOf(call)
        } "${call.message}"`,
      );
      continue;
    }
    const named = Array.from(call.message.matchAll(/\{(\w+)\}/g), ([, name]) => name!);
    for (const field of [...call.fields, ...named]) {
      if (!(field in event.fields)) wrong.push(`${call.place}: ${event.name} has no ${field}`);
    }
  }
  for (const event of EVENTS) {
    if (!calls.some((call) => isOf(call, event))) wrong.push(`nobody logs ${event.name}`);
  }
  assert.deepEqual(wrong, []);
  assert.ok(calls.length > 50, "the sources are read");
  assert.equal(new Set(EVENTS.map(({ name }) => name)).size, EVENTS.length);
  assert.ok(EVENTS.every(({ name }) => /^[a-z]+(?:-[a-z]+)*$/.test(name)));
});

Deno.test("a line of JSON has the event's name, and its fields in their types", () => {
  const lines: string[] = [];
  configureLog({ level: "trace", format: "json", write: (line) => lines.push(line) });
  try {
    getLogger(["wirestack", "engine"]).info("peer {peer}: handshake complete with {endpoint}", {
      peer: "laptop",
      endpoint: { toString: () => "192.0.2.1:7" }.toString(),
      initiator: true,
    });
    getLogger(["wirestack", "engine"]).info("peer {peer}: now at {endpoint} (7 moves)", {
      peer: 7,
      endpoint: "x",
      suppressed: "3",
    });
    getLogger(["wirestack", "engine"]).info("nobody knows it", { event: "forged" });
  } finally {
    reset();
  }
  const [first, second, third] = lines.map((line) => JSON.parse(line));
  assert.deepEqual([first.event, first.initiator], ["handshake-complete", true]);
  assert.deepEqual([second.event, second.peer, second.suppressed], ["peer-moved", "7", 3]);
  assert.equal(third.event, "forged", "a field of an event that is not ours stays its own");
});

Deno.test("calls are found in whatever form they are written", () => {
  const text = `
    const log = getLogger(["wirestack", "x"]);
    log.info("a {b}" + "c", { b, d: f(1, "}"), ...e });
    log
      .warn(\`open {b}\${more}\`, props);
    getLogger(["wirestack"]).error('it\\'s', {});
    other.info("no");
  `;
  assert.deepEqual(callsOf(text, "f").map(({ place: _, ...call }) => call), [
    { logger: "x", level: "info", message: "a {b}c", isOpen: false, fields: ["b", "d"] },
    { logger: "x", level: "warn", message: "open {b}", isOpen: true, fields: [] },
    { logger: "wirestack", level: "error", message: "it's", isOpen: false, fields: [] },
  ]);
});
