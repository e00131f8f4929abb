/**
 * A program with a gateway and a client inside: the client fetches a page that only the gateway can
 * reach. No root, no TUN device.
 *
 *     deno run --unstable-net --allow-net examples/embed.ts
 *
 * @module
 */

import { generatePrivateKey, publicKeyOf, Wirestack } from "../mod.ts";

// The page, on this machine's loopback address.
await using site = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
  return new Response("hello from behind the gateway\n");
});

const gatewayKey = generatePrivateKey();
const clientKey = generatePrivateKey();

// The gateway. Peers reach 10.50.0.0/16 through it, and 10.50.0.1 is its own host.
await using gateway = await Wirestack.start({
  interface: { privateKey: gatewayKey, address: "10.9.0.1/24" },
  peers: [{ publicKey: publicKeyOf(clientKey), allowedIps: "10.9.0.2/32" }],
  proxy: { subnets: "10.50.0.0/16", map: "10.50.0.1/32 -> 127.0.0.1/32" },
});

// The client, elsewhere in real life.
await using client = await Wirestack.start({
  interface: { privateKey: clientKey, address: "10.9.0.2/24" },
  peers: [{
    publicKey: publicKeyOf(gatewayKey),
    allowedIps: ["10.9.0.0/24", "10.50.0.0/16"],
    endpoint: `127.0.0.1:${gateway.port}`,
  }],
});

using conn = await client.connect({ hostname: "10.50.0.1", port: site.addr.port });
await conn.write(new TextEncoder().encode("GET / HTTP/1.0\r\nHost: site\r\n\r\n"));
const response = await new Response(conn.readable).text();
console.log(response.slice(response.indexOf("\r\n\r\n") + 4).trimEnd());

const [peer] = gateway.stats().peers;
console.log(`through WireGuard: ${peer!.receivedBytes > 0 && peer!.sentBytes > 0}`);
