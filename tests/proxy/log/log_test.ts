import assert from "node:assert/strict";
import { getLogger, reset } from "npm:@logtape/logtape@2.4.2";
import { IpAddress } from "../../../netstack/mod.ts";
import {
  configureLog,
  LOG_FORMATS,
  type LogFormat,
  type LogLevel,
} from "../../../proxy/log/log.ts";

const SECRET = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const SECRET_BYTES = Uint8Array.fromBase64(SECRET);

Deno.test("a line has time, level, place and message; a label is followed by what belongs to it", async () => {
  const [line, label] = await logged("text", "trace", () => {
    getLogger(["wirestack", "tcp"]).info("dialled {target} in {ms} ms", {
      target: IpAddress.v4(10, 50, 0, 1),
      ms: 3,
      client: "10.9.0.2",
      sizes: { in: 1, out: 2n },
    });
    getLogger(["wirestack"]).info("stats", { sizes: { in: 1, out: 2n }, name: "x" });
  });
  assert.match(line!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /);
  assert.equal(line!.slice(25), "info    tcp: dialled 10.50.0.1 in 3 ms\n");
  assert.equal(label!.slice(25), 'info    wirestack: stats sizes={"in":1,"out":"2"} name="x"\n');
});

Deno.test("JSON lines have the properties beside the message", async () => {
  const [line] = await logged("json", "trace", () => {
    getLogger(["wirestack", "udp"]).warn("flow {n} dropped", { n: 5, error: new RangeError("no") });
  });
  const { "@timestamp": time, ...rest } = JSON.parse(line!);
  assert.ok(!Number.isNaN(Date.parse(time)));
  assert.deepEqual(rest, {
    level: "WARN",
    message: "flow 5 dropped",
    logger: "wirestack.udp",
    n: 5,
    error: "RangeError: no",
  });
});

Deno.test("values stand in the message of a JSON line as they are, whatever they are", async () => {
  const [line] = await logged("json", "trace", () => {
    getLogger(["wirestack", "tcp"]).info("peer {peer} at {endpoint}: {problem} {list} {missing}", {
      peer: "laptop",
      endpoint: "[fd09::1]:7",
      problem: 'wg0.conf:3: MTU: "x" is not a number',
      list: ["a", 1],
      message: "no other",
      level: "none",
    });
  });
  const { message, level, list } = JSON.parse(line!);
  assert.equal(
    message,
    'peer laptop at [fd09::1]:7: wg0.conf:3: MTU: "x" is not a number ["a",1] undefined',
  );
  assert.deepEqual([level, list], ["INFO", ["a", 1]]);
});

Deno.test("levels below the chosen one are silent", async () => {
  const all = await logged("text", "warning", () => {
    const log = getLogger(["wirestack"]);
    for (const level of ["trace", "debug", "info", "warning", "error"] as const) log[level](level);
  });
  assert.deepEqual(all.map((line) => line.split(" ")[1]), ["warning", "error"]);
});

Deno.test("what others send cannot look like a line of the log", async () => {
  for (const format of LOG_FORMATS) {
    const lines = await logged(format, "trace", () => {
      getLogger(["wirestack"]).info("name {name}", {
        name: "x\n2026 error\x1b[2J\r\x9b2J\x7f",
        more: "y\nz",
      });
    });
    assert.equal(lines.length, 1);
    assert.match(lines[0]!, /^\P{Cc}+\n$/u);
  }
});

Deno.test("a key that a caller passes is not written, in hexadecimal, base64 or numbers", async () => {
  class Session {
    readonly key = SECRET_BYTES;
  }
  for (const format of LOG_FORMATS) {
    const lines = await logged(format, "trace", () => {
      const log = getLogger(["wirestack", "wireguard"]);
      log.trace("{key} {privateKey}", { key: SECRET_BYTES, privateKey: SECRET });
      log.trace("config", { config: { interface: { privateKey: SECRET, presharedKey: SECRET } } });
      log.trace("{session}", { session: new Session(), list: [SECRET_BYTES, new Session()] });
    });
    assert.equal(lines.length, 3);
    const text = lines.join("");
    for (const form of [SECRET.slice(0, 43), SECRET_BYTES.toHex(), SECRET_BYTES.join()]) {
      assert.ok(!text.includes(form), text);
    }
    assert.match(text, /<32 bytes>/);
  }
});

async function logged(format: LogFormat, level: LogLevel, log: () => void): Promise<string[]> {
  const lines: string[] = [];
  configureLog({ format, level, write: (line) => lines.push(line) });
  try {
    log();
  } finally {
    await reset();
  }
  return lines;
}
