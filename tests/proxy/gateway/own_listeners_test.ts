/** Where this process listens itself no peer gets, though a map leads to this host's loopback. */

import assert from "node:assert/strict";
import { udpUnavailable } from "../../../ffi/mod.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { RedirectInbound } from "../../../proxy/inbound/redirect/redirect.ts";
import type { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { IS_ROOT } from "../cli/home.ts";
import { captureLog } from "../log/capture.ts";
import { SITE, startPair, until } from "../pair.ts";
import { startGateway, startWirestack } from "../start.ts";
import { StreamSite } from "./stream_site.ts";

/** What the gateway refused of either protocol. */
type Forbidden = () => { readonly tcp: number; readonly udp: number };

function forbiddenBy(gateway: Wirestack): ReturnType<Forbidden> {
  const { tcpForwarder, udpForwarder } = gateway.stats().counters;
  return { tcp: tcpForwarder.forbidden, udp: udpForwarder.forbidden };
}

/** A peer's dial there is refused by what the gateway knows, before anything is sent to this host. */
async function assertTcpRefused(client: Wirestack, port: number, forbidden: Forbidden) {
  const before = forbidden().tcp;
  await assert.rejects(
    client.connect({ hostname: SITE, port }),
    Deno.errors.ConnectionRefused,
    `${port}`,
  );
  // Once for each SYN: where an answer takes longer than a second the client has sent another.
  const { failedConnects, retransmits } = client.stats().counters.tcp;
  const after = forbidden().tcp;
  assert.ok(after > before && after <= failedConnects + retransmits, `TCP port ${port}`);
}

async function assertUdpRefused(client: Wirestack, port: number, forbidden: Forbidden) {
  const before = forbidden().udp;
  using socket = client.listenDatagram();
  await socket.send(new Uint8Array(100), { transport: "udp", hostname: SITE, port });
  await until(() => forbidden().udp === before + 1, `UDP port ${port} is refused`);
}

Deno.test("links, a capture's listener, the status listener and WireGuard's socket are no targets", async () => {
  using log = captureLog();
  await using pair = await startPair({
    sections: {
      status: { listen: "127.0.0.1:0" },
      capture: { write: "tcp:127.0.0.1:0" },
      links: [
        { name: "stream", listen: "tcp:127.0.0.1:0", framing: "length16" },
        { name: "datagrams", listen: "udp:127.0.0.1:0" },
      ],
    },
  });
  const { client, gateway } = pair;
  const forbidden = () => forbiddenBy(gateway);
  const portOf = (link: string) => {
    const { place } = gateway.stats().links.find(({ name }) => name === link)!;
    return Number(/:(\d+)$/.exec(place!)![1]);
  };
  const captures = log.lines.map((line) => /captures at 127\.0\.0\.1 port (\d+)/.exec(line)?.[1]);
  await assertTcpRefused(client, gateway.statusPort!, forbidden);
  await assertTcpRefused(client, Number(captures.find(Boolean)), forbidden);
  await assertTcpRefused(client, portOf("stream"), forbidden);
  await assertUdpRefused(client, portOf("datagrams"), forbidden);
  await assertUdpRefused(client, gateway.port, forbidden);
});

Deno.test("where a hub listens for WireGuard in TLS and in gRPC is no target", async () => {
  using log = captureLog();
  await using site = await StreamSite.make();
  const { relay } = site.config({ listen: ["tls:127.0.0.1:0", "grpc:127.0.0.1:0"] });
  await using pair = await startPair({ sections: { relay: relay! } });
  const ports = log.lines.flatMap((line) =>
    /(?:tls|grpc):127\.0\.0\.1:(\d+): listening for WireGuard/.exec(line)?.[1] ?? []
  );
  assert.equal(ports.length, 2, log.lines.join(""));
  const forbidden = () => forbiddenBy(pair.gateway);
  for (const port of ports) await assertTcpRefused(pair.client, Number(port), forbidden);
});

Deno.test("where redirected connections and datagrams arrive is no target", {
  ignore: !IS_ROOT || udpUnavailable() !== undefined,
}, async () => {
  const [key, clientKey] = [generatePrivateKey(), generatePrivateKey()];
  await using gateway = await startGateway(
    loadConfig({
      interface: { privateKey: encodeKey(key), address: "10.9.0.1/24" },
      peers: [{ publicKey: encodeKey(publicKeyOf(clientKey)), allowedIps: "10.9.0.2/32" }],
      proxy: { subnets: "10.50.0.0/16", map: `${SITE} -> 127.0.0.1` },
    }).config,
    { ffi: true },
  );
  const { port } = gateway.inbounds.open((host) => new RedirectInbound(host, { port: 0, mark: 1 }));
  await using client = await startWirestack({
    interface: { privateKey: encodeKey(clientKey), address: "10.9.0.2/24" },
    peers: [{
      publicKey: encodeKey(publicKeyOf(key)),
      allowedIps: "0.0.0.0/0",
      endpoint: `127.0.0.1:${gateway.port}`,
    }],
  });
  const { tcp, udp } = gateway.proxy;
  const forbidden = () => ({ tcp: tcp.counters.forbidden, udp: udp.counters.forbidden });
  await assertTcpRefused(client, port, forbidden);
  await assertUdpRefused(client, port, forbidden);
  assert.equal(gateway.inbounds.counters.capture.direct, 0, "nothing was dialled");
});
