/** Places of lists, with servers on loopback. */

import assert from "node:assert/strict";
import { parseIpAddress } from "../../../../proxy/address.ts";
import { parsePeersFrom, shownPlace } from "../../../../proxy/config/peer_list_values.ts";
import { ParseFailure } from "../../../../proxy/config/values.ts";
import { openPlace } from "../../../../proxy/gateway/peer_list/place.ts";
import { MAX_LIST_BYTES } from "../../../../proxy/gateway/peer_list/text.ts";
import { MadeAuthority } from "../../bind/certificates/made.ts";

const { signal } = new AbortController();
const key = new Uint8Array(32);
const place = (url: string, caPath?: string, ...addresses: string[]) =>
  openPlace(
    { place: { url }, key, intervalMs: 60_000, ...(caPath !== undefined && { caPath }) },
    () => addresses.map((text) => parseIpAddress(text)!),
  );

function serve(handler: Deno.ServeHandler, options: object = {}) {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {}, ...options }, handler);
}

Deno.test("what was accepted is asked for by its tag, what was not is read again", async () => {
  const tags: (string | null)[] = [];
  await using server = serve((request) => {
    const tag = request.headers.get("if-none-match");
    tags.push(tag);
    return tag === '"a"'
      ? new Response(null, { status: 304 })
      : new Response("list", { headers: { etag: '"a"' } });
  });
  const url = place(`http://127.0.0.1:${server.addr.port}/peers`);
  const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes);
  assert.equal(text(await url.read(signal)), "list");
  assert.equal(text(await url.read(signal)), "list");
  url.accept();
  assert.equal(await url.read(signal), undefined);
  assert.deepEqual(tags, [null, null, '"a"']);
  url.close();
});

Deno.test("answers that are no list are named, and what stands behind ? is not", async () => {
  let answer = () => new Response();
  await using server = serve(() => answer());
  const { port } = server.addr;
  const url = place(`http://127.0.0.1:${port}/peers?token=geheim`);
  assert.equal(url.name, `http://127.0.0.1:${port}/peers`);
  const refused = async (message: RegExp, refusal = "unreachable") => {
    await assert.rejects(() => url.read(signal), (error: Error & { refusal?: string }) => {
      assert.equal(error.refusal, refusal);
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /geheim/);
      return true;
    });
  };
  answer = () => new Response("no", { status: 404 });
  await refused(/answers with status 404, expected 200/);
  answer = () => new Response(null, { status: 302, headers: { location: "http://10.0.0.1/" } });
  await refused(/status 302, which leads elsewhere/);
  answer = () => new Response(null, { status: 304 });
  await refused(/status 304/);
  answer = () =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(1 << 20)),
      }),
    );
  await refused(new RegExp(`${MAX_LIST_BYTES >> 20} MB at most`), "format");
  await server.shutdown();
  await refused(/cannot be read: /);
  url.close();
});

/** A folder with an authority, another, and a certificate that the first has signed for a name. */
async function certified(name: string) {
  const folder = await Deno.makeTempDir();
  const [authority, other] = [await MadeAuthority.make(), await MadeAuthority.make()];
  const { cert, key } = await authority.leaf({ name, usage: "serverAuth", hosts: [name] });
  await Deno.writeTextFile(`${folder}/ca.pem`, authority.cert);
  await Deno.writeTextFile(`${folder}/other.pem`, other.cert);
  const remove = () => Deno.remove(folder, { recursive: true });
  return { folder, cert, key, [Symbol.asyncDispose]: remove };
}

Deno.test("a server with a certificate of PeersCa is read, another is not", async () => {
  await using made = await certified("localhost");
  const { folder, cert, key } = made;
  await using server = serve(() => new Response("list"), { cert, key });
  const url = `https://localhost:${server.addr.port}/`;
  const good = place(url, `${folder}/ca.pem`);
  assert.equal((await good.read(signal))?.length, 4);
  good.close();
  for (const ca of [undefined, `${folder}/other.pem`]) {
    const bad = place(url, ca);
    await assert.rejects(() => bad.read(signal), /certificate/);
    bad.close();
  }
  const none = place(url, `${folder}/none.pem`);
  await assert.rejects(() => none.read(signal), /PeersCa cannot be read/);
  none.close();
});

Deno.test("a name with given addresses is called at these, without being looked up, and shows its certificate", async () => {
  await using made = await certified("list.test");
  const { folder, cert, key } = made;
  const asked: string[] = [];
  let answer = () => new Response("list", { headers: { etag: '"a"' } });
  await using server = serve((request) => {
    const tag = request.headers.get("if-none-match");
    asked.push(`${request.url} ${request.headers.get("host")} ${tag}`);
    return tag === '"a"' ? new Response(null, { status: 304 }) : answer();
  }, { cert, key });
  const { port } = server.addr;
  const url = `https://list.test:${port}/peers?a=b`;
  const ca = `${folder}/ca.pem`;
  // Nobody is at the first.
  const good = place(url, ca, "127.9.9.9", "127.0.0.1");
  assert.equal(new TextDecoder().decode(await good.read(signal)), "list");
  good.accept();
  assert.equal(await good.read(signal), undefined);
  assert.deepEqual(asked, [
    `${url} list.test:${port} null`,
    `${url} list.test:${port} "a"`,
  ]);
  good.close();

  const refused = (message: RegExp, ...of: Parameters<typeof place>) =>
    assert.rejects(() => place(...of).read(signal), (error: Error) => {
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /a=b/);
      return true;
    });
  await refused(/certificate/, url, undefined, "127.0.0.1");
  await refused(/certificate/, url, `${folder}/other.pem`, "127.0.0.1");
  await refused(/certificate/, `https://other.test:${port}/?a=b`, ca, "127.0.0.1");
  await refused(/cannot be read: /, url, ca, "127.9.9.9");
  answer = () => new Response("no", { status: 404 });
  await refused(/answers with status 404, expected 200/, url, ca, "127.0.0.1");
  answer = () => new Response(null, { status: 302, headers: { location: "http://10.0.0.1/" } });
  await refused(/status 302, which leads elsewhere/, url, ca, "127.0.0.1");
  answer = () => {
    const pull = (controller: ReadableStreamDefaultController) =>
      controller.enqueue(new Uint8Array(1 << 20));
    return new Response(new ReadableStream({ pull }));
  };
  await refused(/16 MB at most/, url, ca, "127.0.0.1");
});

Deno.test("who stops waiting for a given address ends the call", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = listener.accept();
  const stop = new AbortController();
  const url = `https://list.test:${(listener.addr as Deno.NetAddr).port}/`;
  const reading = place(url, undefined, "127.0.0.1").read(stop.signal);
  using conn = await accepted;
  stop.abort();
  await assert.rejects(reading, /cannot be read/);
  while (await conn.read(new Uint8Array(1000)).catch(() => null) !== null) { /* its hello */ }
  listener.close();
});

Deno.test("a file is read when it is another", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/peers.list`;
    const file = openPlace({ place: { path }, key, intervalMs: 60_000 });
    await assert.rejects(() => file.read(signal), /no such file/);
    await Deno.writeTextFile(path, "a");
    assert.equal((await file.read(signal))?.length, 1);
    assert.equal(await file.read(signal), undefined);
    await Deno.writeTextFile(`${path}.new`, "b");
    await Deno.rename(`${path}.new`, path);
    assert.equal((await file.read(signal))?.[0], "b".charCodeAt(0));
    await Deno.remove(path);
    await assert.rejects(() => file.read(signal), /no such file/);
    await assert.rejects(
      () => openPlace({ place: { path: folder }, key, intervalMs: 1 }).read(signal),
      /not a file/,
    );

    // What is far too long is not read again and again.
    await Deno.writeTextFile(path, "a");
    await Deno.truncate(path, 100 << 20);
    await assert.rejects(() => file.read(signal), /is too long, expected 16 MB at most/);
    assert.equal(await file.read(signal), undefined);
    await Deno.truncate(path, 1);
    assert.equal((await file.read(signal))?.length, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("PeersFrom is https, or this host's http, or a path, and names no user", () => {
  const good = [
    "https://hub.example.com/peers",
    "http://127.0.0.1:8080/a",
    "http://[::1]/a",
    "http://localhost/a",
  ];
  for (const text of good) assert.deepEqual(parsePeersFrom(text), { url: text });
  assert.deepEqual(parsePeersFrom("peers.list"), { path: "peers.list" });
  const bad: [string, RegExp][] = [
    ["http://hub.example.com/peers", /can be read on the way, expected https/],
    ["http://localhost.example.com/peers", /can be read on the way/],
    ["https://user:geheim@hub.example.com/", /^names a user, expected https:\/\/… without$/],
    ["ftp://hub.example.com/", /is neither, expected https/],
    ["https://", /is no URL/],
    ["-", /is not a file/],
  ];
  for (const [text, message] of bad) {
    const parsed = parsePeersFrom(text);
    assert.ok(parsed instanceof ParseFailure, text);
    assert.match(parsed.message, message);
  }
  assert.equal(shownPlace({ url: "https://a.test/b?c=d#e" }), "https://a.test/b");
});
