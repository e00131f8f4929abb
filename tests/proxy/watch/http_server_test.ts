import assert from "node:assert/strict";
import { type Answer, HTTP_LIMITS, HttpServer } from "../../../proxy/watch/http_server.ts";
import { readAll, until, writeAll } from "../pair.ts";

const OK = "GET /path HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST = OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");

async function listening(answer: () => Answer | Promise<Answer>, limits = HTTP_LIMITS) {
  const server = new HttpServer(answer, limits);
  const port = await server.listen({ host: "127.0.0.1", port: 0 });
  return { server, port, [Symbol.dispose]: () => server.close() };
}

function text(text: string, status = 200): Answer {
  return { status, type: "text/plain", text };
}

/** Sends bytes as they are. @returns all that comes until the server ends it. */
async function raw(port: number, request: string, hasEnd = false): Promise<string> {
  using conn = await Deno.connect({ port });
  await writeAll(conn, new TextEncoder().encode(request));
  if (hasEnd) await conn.closeWrite();
  return new TextDecoder().decode(await readAll(conn));
}

function statuses(answers: string): string[] {
  return [...answers.matchAll(/^HTTP\/1\.1 (\d+) /gm)].map(([, status]) => status!);
}

Deno.test("requests that come at once are answered in turn, and none behind the last", async () => {
  let count = 0;
  using site = await listening(async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return text(`answer ${++count}\n`);
  });
  const answers = await raw(site.port, `${OK}\r\n${OK}${LAST}${OK}`);
  assert.deepEqual(statuses(answers), ["200", "200", "200"]);
  assert.deepEqual(answers.match(/answer \d/g), ["answer 1", "answer 2", "answer 3"]);
  assert.equal(count, 3);
});

Deno.test("who sends all at once and closes its side is answered all of it", async () => {
  using site = await listening(async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return text("here\n");
  });
  assert.deepEqual(statuses(await raw(site.port, OK, true)), ["200"]);
  assert.deepEqual(statuses(await raw(site.port, OK + OK, true)), ["200", "200"]);
  assert.equal(await raw(site.port, "GET /path HT", true), "");
});

Deno.test("who asks thousands of times and takes no answer has few made, and holds up nobody", async () => {
  let count = 0;
  const long = "x".repeat(64 << 10);
  using site = await listening(() => {
    count++;
    return text(long);
  });
  const floods = await Promise.all(
    Array.from({ length: 4 }, () => Deno.connect({ port: site.port })),
  );
  const many = new TextEncoder().encode(OK.repeat(20_000));
  const flooding = floods.map((conn) => writeAll(conn, many).catch(() => {}));
  await until(() => count >= floods.length, "the floods have come");
  assert.deepEqual(statuses(await raw(site.port, LAST)), ["200"]);
  // What the system's buffers take of them, and no more.
  assert.ok(count < 10_000, `${count} answers of 80,000`);
  for (const conn of floods) conn.close();
  await Promise.all(flooding);
});

Deno.test("who waits for an answer that takes its time keeps its place", async () => {
  const asked = Promise.withResolvers<void>();
  const made = Promise.withResolvers<void>();
  using site = await listening(async () => {
    asked.resolve();
    await made.promise;
    return text("here\n");
  }, { ...HTTP_LIMITS, connections: 8 });
  const patient = raw(site.port, LAST);
  await asked.promise;
  const slow = await Promise.all(
    Array.from({ length: 40 }, () => Deno.connect({ port: site.port })),
  );
  await until(() => site.server.displaced >= 33, "slow ones make room for slow ones");
  made.resolve();
  assert.deepEqual(statuses(await patient), ["200"]);
  for (const conn of slow) conn.close();
});

Deno.test("a head that is asked for alone has no body behind it", async () => {
  using site = await listening(() => text("body\n"));
  const answer = await raw(site.port, LAST.replace("GET", "HEAD"));
  assert.match(answer, /\r\nContent-Length: 5\r\n/);
  assert.ok(answer.endsWith("\r\n\r\n"), answer);
});

Deno.test("what is behind a request with a body is not taken for another", async () => {
  using site = await listening(() => text("no\n", 405));
  const body = `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${OK.length}\r\n\r\n${OK}`;
  assert.deepEqual(statuses(await raw(site.port, body)), ["405"]);
});

Deno.test("a connection that is refused, says nothing or takes nothing ends", async () => {
  const limits = { ...HTTP_LIMITS, headMs: 50, answerMs: 50, idleMs: 50 };
  using site = await listening(() => text("x".repeat(16 << 20)), limits);
  using silent = await Deno.connect({ port: site.port });
  using greedy = await Deno.connect({ port: site.port });
  await writeAll(greedy, new TextEncoder().encode(OK));
  await until(() => site.server.connections === 0, "they have ended");
  assert.equal(await silent.read(new Uint8Array(1)), null);

  using polite = await listening(() => text("here\n"), { ...HTTP_LIMITS, idleMs: 50 });
  using idle = await Deno.connect({ port: polite.port });
  await writeAll(idle, new TextEncoder().encode(OK));
  assert.deepEqual(statuses(new TextDecoder().decode(await readAll(idle))), ["200"]);
  assert.match(await raw(polite.port, "nonsense\r\n\r\n"), /^HTTP\/1\.1 400 Bad Request\r\n/);
});
