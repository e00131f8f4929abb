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
  const ms = info.roundTrips().get(port);
  assert.ok(ms !== undefined && ms > 0 && ms < 1000, `${ms} ms`);
  conn.close();
  assert.equal(info.roundTrips().get(port), undefined);
  info.close();
});
