import assert from "node:assert/strict";
import { parseHttpHead } from "../../../proxy/watch/http_head.ts";

const host = "Host: gw.test";

function head(...lines: string[]) {
  return parseHttpHead(lines.join("\r\n"));
}

Deno.test("the head of a request says what is asked for, of whom, and whether more may follow", () => {
  assert.deepEqual(head("GET /metrics?a=1?b HTTP/1.1", host, "AUTHORIZATION:Bearer x "), {
    method: "GET",
    path: "/metrics",
    host: "gw.test",
    authorization: "Bearer x",
    isLast: false,
  });
  assert.equal(head("GET http://gw.test HTTP/1.1", "Host: other.test")?.host, "gw.test");
  assert.equal(head("GET http://gw.test HTTP/1.1", "Host: other.test")?.path, "/");
  assert.equal(head("GET http://gw.test?x HTTP/1.1", "Host: other.test")?.path, "/");
  assert.equal(head("GET / HTTP/1.0")?.isLast, true);
  assert.equal(head("GET / HTTP/1.1", host, "Connection: x, Close")?.isLast, true);
  assert.equal(head("GET / HTTP/1.1", host, "Connection: close-not")?.isLast, false);
  assert.equal(head("GET / HTTP/1.1", host, "Content-Length: 0")?.isLast, false);
  assert.equal(head("GET / HTTP/1.1", host, "Content-Length: 5")?.isLast, true);
  assert.equal(head("GET / HTTP/1.1", host, "Transfer-Encoding: chunked")?.isLast, true);
});

Deno.test("of a field that is given twice no value counts", () => {
  const twice = head("GET http://gw.test/ HTTP/1.1", host, "host: evil.test");
  assert.equal(twice?.host, undefined);
  assert.equal(head("GET / HTTP/1.1", host, host)?.host, undefined);
  const tokens = head("GET / HTTP/1.1", host, "Authorization: a", "Authorization: b");
  assert.equal(tokens?.authorization, undefined);
});

Deno.test("what two readers could take for different requests is none", () => {
  for (
    const lines of [
      [""],
      ["GET / HTTP/1.1"],
      ["GET / HTTP/2.0", host],
      ["GET  / HTTP/1.1", host],
      ["GET / HTTP/1.1 ", host],
      ["GET /", host],
      ["G(T / HTTP/1.1", host],
      ["GET / HTTP/1.1", "Host : gw.test"],
      ["GET / HTTP/1.1", host, " folded"],
      ["GET / HTTP/1.1", host, "no colon"],
      ["GET / HTTP/1.1", host, ": no name"],
      ["GET / HTTP/1.1\nHost: gw.test"],
      ["GET / HTTP/1.1", "X: a\rHost: evil.test", host],
      ["GET / HTTP/1.1", `${host}\0`],
    ]
  ) assert.equal(head(...lines), undefined, JSON.stringify(lines));
});
