import assert from "node:assert/strict";
import { TcpInfo } from "../../ffi/mod.ts";

Deno.test("the kernel tells the round trip of each TCP socket of this process, by its local port", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = listener.accept();
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  using other = await accepted;
  await conn.write(new Uint8Array(10));
  await other.read(new Uint8Array(10));
  const info = new TcpInfo();
  const { port } = conn.localAddr;
  const roundTrips = () => {
    const steps = info.roundTrips();
    for (let count = 1;; count++) {
      const { done, value } = steps.next();
      if (done) return { found: value, count };
    }
  };
  const { found, count } = roundTrips();
  const ms = found.get(port);
  assert.ok(ms !== undefined && ms > 0 && ms < 1000, `${ms} ms`);
  assert.ok(count >= 16, `${count} steps for the 4,096 descriptors behind the last`);
  conn.close();
  assert.equal(roundTrips().found.get(port), undefined);
  info.close();
});
