/** The site behind NAT: nobody can reach the gateway before it has dialled out. */

import assert from "node:assert/strict";
import { labTest } from "../lab.ts";
import { NatSite } from "../nat_site.ts";
import { tries } from "../../tries.ts";

labTest("behind NAT the gateway dials a named endpoint and keeps the mapping open", async () => {
  await using site = await NatSite.start({ persistentKeepalive: 1, mappingSeconds: 3 });
  await site.reached();
  // Three times as long as the router would remember a silent mapping.
  await new Promise((resolve) => setTimeout(resolve, 9000));
  await site.reached(); // which nobody but the keepalives makes possible
  const { endpoint } = await site.wireguard.peer();
  assert.match(endpoint, /^198\.51\.100\.1:/);
}, ["curl"]);

// Both are of the gateway's own network, which the system puts first (RFC 6724).
for (const dead of ["192.168.1.99", "2001:db8:1::99"]) {
  labTest(
    `with ${dead} first in the peer's name, where nobody is, the second address is tried after 5 s`,
    () =>
      tries(3, async () => {
        await using site = await NatSite.start({
          persistentKeepalive: 5,
          mappingSeconds: 30,
          deadAddresses: [dead],
        });
        const order = await site.gatewayHost.output(["getent", "ahosts", "peer.test"]);
        assert.ok(order.startsWith(dead), order);
        const ms = await site.reached();
        assert.ok(ms < 7_000, `reached after ${ms} ms`);
        const { endpoint } = await site.wireguard.peer();
        assert.match(endpoint, /^198\.51\.100\.1:/);
      }),
    ["curl"],
  );
}

// The soak has the real figures: 25 s keepalive, a minute's absence, 120 s until new keys.
labTest("behind NAT the gateway is back by itself after its peer was gone", async () => {
  await using site = await NatSite.start({
    persistentKeepalive: 2,
    interface: ["RekeyAfter = 5"],
    mappingSeconds: 30,
  });
  await site.reached();
  await tries(3, async () => {
    await site.wireguard.stop();
    await new Promise((resolve) => setTimeout(resolve, 8000));
    await site.wireguard.start();
    // WireGuard whitepaper §6.2, §6.4: the next keepalive finds the key too old, or the handshake
    // that it began is tried again after 5 s.
    const ms = await site.reached();
    assert.ok(ms < 12_000, `back after ${ms} ms`);
  });
}, ["curl"]);
