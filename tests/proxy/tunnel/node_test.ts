/**
 * Node's servers and streams over connections of the tunnel, as programs put them together.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import http from "node:http";
import https from "node:https";
import { Duplex } from "node:stream";
import tls from "node:tls";
import type { TunnelConn } from "../../../proxy/tunnel/conn.ts";
import { pattern, readAll, startPair, writeAll } from "../pair.ts";

// For these tests alone: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes
//   -days 36500 -subj /CN=gateway.test
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBhDCCASugAwIBAgIUIkmsNa4M/azBkWvNtnIpJ6w25lwwCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMZ2F0ZXdheS50ZXN0MCAXDTI2MTEyNTIwMzAwN1oYDzIxMjYx
MTAxMjAzMDA3WjAXMRUwEwYDVQQDDAxnYXRld2F5LnRlc3QwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAATxG85NIDCG9NLSx9DkNuduosgM1nxNt+UmR9wGaGg1Qtgi
aA6zjdY+n9jcOyAccqGLngiVerYj7NZojAQM3pBdo1MwUTAdBgNVHQ4EFgQUKB1H
mNohaBqRjD8v48H5AWUh2n4wHwYDVR0jBBgwFoAUKB1HmNohaBqRjD8v48H5AWUh
2n4wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAObAaS5b/GX1Wo
UDNSs9RWd4PZywOyY9tg1hk+MoTvZQIgVeeB3OgCHpbYlnSdMshtPll6ZVmtF3oA
PEicRYD82Xc=
-----END CERTIFICATE-----`;
const PRIVATE_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgTEFC6RXdqSY1+qgE
sMDWWC8Xo6mqOzCvJPeYsSaetCShRANCAATxG85NIDCG9NLSx9DkNuduosgM1nxN
t+UmR9wGaGg1QtgiaA6zjdY+n9jcOyAccqGLngiVerYj7NZojAQM3pBd
-----END PRIVATE KEY-----`;

const PAGE = pattern(300_000);

function duplexOf(conn: TunnelConn): Duplex {
  // deno-lint-ignore no-explicit-any -- Node's own types of the same streams
  return Duplex.fromWeb(conn as any);
}

for (const scheme of ["http", "https"] as const) {
  Deno.test(`a page of Node's ${scheme} server over a connection of the tunnel`, async () => {
    await using pair = await startPair({ proxy: null });
    using listener = pair.gateway.listen({ port: 443 });
    const answer: http.RequestListener = (_request, response) => response.end(PAGE);
    const server = scheme === "http"
      ? http.createServer(answer)
      : https.createServer({ cert: CERTIFICATE, key: PRIVATE_KEY }, answer);
    const serving = (async () => {
      for await (const conn of listener) server.emit("connection", duplexOf(conn));
    })();
    // Both that ask to close after the answer, and that close by themselves.
    for (const connection of ["close", "keep-alive"]) {
      const conn = await pair.client.connect({ hostname: "10.9.0.1", port: 443 });
      const request = `GET / HTTP/1.1\r\nHost: gateway.test\r\nConnection: ${connection}\r\n\r\n`;
      assert.deepEqual(await ask(conn, scheme, request), PAGE);
    }
    listener.close();
    await serving;
    server.close();
  });
}

/** Sends a request and reads the body of the answer. */
async function ask(conn: TunnelConn, scheme: "http" | "https", request: string) {
  const raw = duplexOf(conn);
  const socket = scheme === "http" ? raw : tls.connect({ socket: raw, rejectUnauthorized: false });
  const failed = Promise.withResolvers<never>();
  socket.on("error", failed.reject);
  socket.write(request);
  const chunks: Uint8Array[] = [];
  let header = -1;
  let length = 0;
  const reading = (async () => {
    for await (const chunk of socket) {
      chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      header = bytes.indexOf("\r\n\r\n");
      length = bytes.length - header - 4;
      if (header > 0 && length >= PAGE.length) return new Uint8Array(bytes.subarray(header + 4));
    }
    throw new Error(`the end after ${length} bytes of the body`);
  })();
  return await Promise.race([reading, failed.promise]);
}

Deno.test("destroying a Node stream over a connection closes it: what was written arrives", async () => {
  await using pair = await startPair({ proxy: null });
  using listener = pair.gateway.listen({ port: 7 });
  const accepting = listener.accept();
  const stream = duplexOf(await pair.client.connect({ hostname: "10.9.0.1", port: 7 }));
  await new Promise<void>((resolve) => stream.write(pattern(10_000), () => resolve()));
  stream.destroy();
  using conn = await accepting;
  assert.deepEqual(await readAll(conn), pattern(10_000));
});

Deno.test("a pipe through an aborted writable ends with what was written", async () => {
  await using pair = await startPair({ proxy: null });
  using listener = pair.gateway.listen({ port: 7 });
  const accepting = listener.accept();
  const conn = await pair.client.connect({ hostname: "10.9.0.1", port: 7 });
  await writeAll(conn, pattern(1000));
  const source = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.error(new Error("the source failed")),
  });
  await assert.rejects(source.pipeTo(conn.writable), /the source failed/);
  using accepted = await accepting;
  assert.deepEqual(await readAll(accepted), pattern(1000));
});
