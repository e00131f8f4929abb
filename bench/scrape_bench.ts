/** What a scrape costs a gateway's only thread, by the number of peers; 100 of them have figures of their own. */

import { encodeKey, generatePrivateKey } from "../proxy/base64.ts";
import { loadConfig } from "../proxy/config/config.ts";
import { Gateway } from "../proxy/gateway/gateway.ts";
import { LoopDelay } from "../proxy/watch/loop_delay.ts";
import { Metrics } from "../proxy/watch/metrics/metrics.ts";

const { config } = loadConfig({ interface: { privateKey: encodeKey(generatePrivateKey()) } });

for (const count of [100, 10_000]) {
  const gateway = await Gateway.start(config, { ffi: false });
  const key = crypto.getRandomValues(new Uint8Array(32));
  for (let i = 0; i < count; i++) {
    new DataView(key.buffer).setUint32(0, i);
    gateway.engine.device.addPeer({ publicKey: key.slice() }, gateway.engine.now());
  }
  const metrics = new Metrics();
  const sources = {
    gateway,
    loop: new LoopDelay(),
    maxPeers: 100,
    server: { connections: 0, displaced: 0 },
  };
  Deno.bench({ name: `${count} peers`, fn: () => void metrics.text(sources, performance.now()) });
}
