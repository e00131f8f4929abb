/** What is said of how peers are reached. */

import assert from "node:assert/strict";
import { Paths } from "../../../../proxy/gateway/paths/paths.ts";
import type { Peer } from "../../../../wireguard/mod.ts";
import { captureLog } from "../../log/capture.ts";

Deno.test("a peer that sends by two transports at once moves with every datagram, and a line a second says so", () => {
  using log = captureLog();
  let now = 0;
  const paths = new Paths({ now: () => now, wake: () => {}, tryElsewhere: () => {} });
  const at = (name: string) => ({ bind: { name } });
  const peer = { name: "laptop", endpoint: at("udp") };
  const known = peer as unknown as Peer;
  paths.transportOf(known);
  for (; now < 3_000; now++) {
    peer.endpoint = at(now % 2 === 0 ? "tls" : "udp");
    assert.ok(paths.moved(known));
  }
  assert.equal(log.lines.length, 3);
  assert.match(log.lines[0]!, /peer laptop: by tls now, where it was heard$/m);
  assert.match(log.lines[1]!, /where it was heard \(999 moves went unlogged before\)/);
  assert.equal(paths.transportOf(known)!.switches, 3_000, "they are counted all the same");
});
