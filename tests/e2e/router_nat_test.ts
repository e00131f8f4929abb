/** `wirestack router --nat`: hosts behind its link reach each other by the NAT's address. */

import assert from "node:assert/strict";
import { ends } from "../netstack/nat/lab.ts";
import { parse, type Parsed, udp } from "../netstack/packets.ts";
import { Process } from "./process.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const DATA = Uint8Array.of(1, 2, 3);

Deno.test("router --nat: two hosts of one link talk by its address, each seeing the other's external port", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/link.sock`;
  try {
    await using router = new Process("router", [
      ...[Deno.execPath(), "run", "--quiet", "--no-prompt", "--no-check", "--allow-all", MAIN],
      ...["router", "--listen", `unix:${path}`, "--nat", "10.0.1.1", "--control-dir", folder],
    ]);
    await router.line(/link router: unix:.*, listening/);
    using conn = await Deno.connect({ transport: "unix", path });
    const send = async (bytes: Uint8Array) => {
      const frame = Uint8Array.of(bytes.length >> 8, bytes.length & 0xff, ...bytes);
      for (let at = 0; at < frame.length;) at += await conn.write(frame.subarray(at));
    };
    // The first is not asked for, and opens the way back.
    await send(udp("10.0.0.8", 5000, "10.0.1.1", 6000, DATA));
    await send(udp("10.0.0.9", 6000, "10.0.1.1", 5000, DATA));
    assert.equal(ends(await nextOf(conn)), "10.0.1.1:6000 > 10.0.0.8:5000");
    await send(udp("10.0.0.8", 5000, "10.0.1.1", 6000, DATA));
    assert.equal(ends(await nextOf(conn)), "10.0.1.1:5000 > 10.0.0.9:6000");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** The next packet of a link with frames of length16. */
async function nextOf(conn: Deno.Conn): Promise<Parsed> {
  const need = async (count: number) => {
    const buffer = new Uint8Array(count);
    for (let at = 0; at < count;) {
      const got = await conn.read(buffer.subarray(at));
      assert.ok(got !== null, "the router has gone");
      at += got;
    }
    return buffer;
  };
  const [high, low] = await need(2);
  return parse(await need(high! << 8 | low!));
}
