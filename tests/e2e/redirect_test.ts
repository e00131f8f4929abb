/**
 * The walk-through of seed 3: two networks with the same addresses behind agents, reached by way of a hub,
 * from programs that know nothing of it; by a device, and by a redirect.
 *
 * @module
 */

import assert from "node:assert/strict";
import { eventually, labTest } from "./lab.ts";
import { CIDRS, FIRST, RedirectSite, SECOND } from "./redirect_site.ts";
import { fileHash, hashOf } from "./tunnel_services.ts";

const PROGRAMS = ["curl", "ping", "bash", "python3"];
const REDIRECT = ["redirect", ...CIDRS.flatMap((cidr) => ["--cidr", cidr])];
const READY = /CAP_NET_BIND_SERVICE alone/;

labTest("two networks with the same addresses: by a redirect", async (t) => {
  await using site = await RedirectSite.start();
  await site.write();
  const process = await site.tunnel.start([...REDIRECT, site.tunnel.file]);
  await process.line(READY, { timeoutMs: 60_000 });
  await carries(t, site);
  process.signal("SIGTERM");
  assert.equal((await process.exit(30_000)).code, 0, `${process}`);
}, PROGRAMS);

/** That what a walk-through is about arrives, to the byte. */
async function carries(t: Deno.TestContext, site: RedirectSite): Promise<void> {
  const { client, lab } = site;
  await eventually("the first target answers", async () => {
    return await site.nameAt(FIRST[0]) === "target 1";
  }, { timeoutMs: 30_000 });
  await t.step("connections, each to its own", async () => {
    for (const [name, addresses] of [["target 1", FIRST], ["target 2", SECOND]] as const) {
      for (const address of addresses) {
        assert.equal(await site.nameAt(address), name, address);
        assert.equal(await site.nameAt(address, 9999), name, `${address}, the redirect's own port`);
      }
    }
  });
  await t.step("100 MB from the one, 20 MB to the other, by their hash", async () => {
    const file = `${lab.directory}/file`;
    await client.output(
      ["curl", "--silent", "--fail", "--output", file, `http://${FIRST[0]}/file`],
      { timeoutMs: 120_000 },
    );
    const bytes = await Deno.readFile(file);
    assert.equal(hashOf(bytes), fileHash());
    await Deno.writeFile(file, bytes.subarray(0, 20_000_000));
    const uploaded = await client.output(
      ["curl", "--silent", "--fail", "--data-binary", `@${file}`, `http://${SECOND[0]}/upload`],
      { timeoutMs: 120_000 },
    );
    assert.equal(uploaded, hashOf(bytes.subarray(0, 20_000_000)));
    await Deno.remove(file);
  });
  await t.step("datagrams, answered in the name of who was asked", async () => {
    for (const [name, addresses] of [["target 1", FIRST], ["target 2", SECOND]] as const) {
      for (const address of addresses) {
        for (const port of [7, 53]) {
          assert.equal(await asked(site, address, port, "hello"), `${name}: hello`);
        }
      }
    }
  });
}

/** What a connected UDP socket of the client gets for an answer. */
async function asked(
  { client }: RedirectSite,
  address: string,
  port: number,
  text: string,
): Promise<string> {
  return await client.output(["python3", "-c", ASK, address, `${port}`, text]);
}

const ASK = `
import socket, sys
address, port, text = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.connect((address, int(port)))
for attempt in range(5):
    s.send(text.encode())
    try:
        print(s.recv(65536).decode(), end="")
        break
    except TimeoutError:
        pass
`;
