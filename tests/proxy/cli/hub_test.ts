import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { PeerStats } from "../../../proxy/gateway/gateway.ts";
import type { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { until } from "../pair.ts";
import { startWirestack } from "../start.ts";
import { Home, TASKS, USER } from "./home.ts";
import { runHere } from "./run_here.ts";

const hubKey = generatePrivateKey();
const NAMES = ["alice", "bob", "carol"] as const;
const keys = NAMES.map(() => generatePrivateKey());
const address = (index: number) => `10.9.0.${index + 2}`;
/** Rules as of `[Rule]`. */
const fileOf = (more = "") =>
  `[Interface]\nPrivateKey = ${encodeKey(hubKey)}\nAddress = 10.9.0.1/24\n` +
  NAMES.map((name, i) =>
    `[Peer]\nName = ${name}\nPublicKey = ${encodeKey(publicKeyOf(keys[i]!))}\n` +
    `AllowedIPs = ${address(i)}/32\n`
  ).join("") + more;

/** A peer in this process, once the hub knows where it is. */
async function peer(index: number, port: number): Promise<Wirestack> {
  const started = await startWirestack({
    interface: { privateKey: keys[index]!, address: `${address(index)}/24` },
    peers: [{
      publicKey: publicKeyOf(hubKey),
      allowedIps: "10.9.0.0/24",
      endpoint: `127.0.0.1:${port}`,
      persistentKeepalive: 25,
    }],
  });
  const hasSent = () => started.stats().counters.wireguard.keepalivesSent > 0;
  await until(hasSent, "a handshake, and a keepalive");
  return started;
}

for (const task of TASKS) {
  Deno.test(
    `an ordinary user's hub passes on what its peers send each other, as its rules are: ${task}`,
    { ignore: Deno.build.os === "windows" },
    async () => {
      await using home = await Home.create(task);
      await Deno.writeTextFile(
        home.file,
        fileOf("[Rule]\nFrom = carol\nAction = reject\n[Rule]\nAction = allow\n"),
      );
      await Deno.chown(home.file, USER, USER);
      const hub = await home.runs("hub", "control socket");
      try {
        assert.match(hub.log, /listening on UDP port \d+, .*, peers 3, (?!.*nic2)/);
        const port = Number(/UDP port (\d+)/.exec(hub.log)![1]);
        await using alice = await peer(0, port);
        await using bob = await peer(1, port);
        await using carol = await peer(2, port);
        using listener = bob.listen({ port: 7 });
        const answered = (async () => {
          const conn = await listener.accept();
          await conn.readable.pipeTo(conn.writable);
        })();
        answered.catch(() => {}); // a connection that is not made is told of first
        using conn = await alice.connect({ hostname: address(1), port: 7 });
        await conn.write(new TextEncoder().encode("through the hub"));
        await conn.closeWrite();
        assert.equal(await new Response(conn.readable).text(), "through the hub");
        await answered;
        await assert.rejects(
          carol.connect({ hostname: address(1), port: 7 }),
          Deno.errors.ConnectionRefused,
        );
        const { status, out, error } = await home.run(
          "peers",
          "wg0",
          "--json",
          "--match",
          "10.9.0.",
        );
        assert.deepEqual([status, error], [0, ""]);
        const listed = JSON.parse(out) as PeerStats[];
        assert.deepEqual(
          listed.map(({ name, state, endpoint }) => [name, state, endpoint]),
          [alice, bob, carol].map(({ port }, i) => [NAMES[i], "connected", `127.0.0.1:${port}`]),
        );
      } finally {
        assert.equal((await hub.stop()).status, 0);
      }
    },
  );
}

Deno.test("a hub refuses what would make it none, and says the place", async () => {
  const file = fileOf();
  const cases: [string[], string, string][] = [
    [
      ["hub", "-"],
      file.replace("Address", "PeerToPeer = FALSE\nAddress"),
      "-:3: PeerToPeer: false keeps peers from each other, expected true or none for a hub " +
      "(up runs a gateway without)\n",
    ],
    [
      ["hub", "-", "--peer-to-peer", "false"],
      file,
      "--peer-to-peer: false keeps peers from each other, expected true or none for a hub " +
      "(up runs a gateway without)\n",
    ],
    [
      ["hub", "-", "--format", "yaml"],
      `interface:\n  privateKey: ${encodeKey(hubKey)}\n  peerToPeer: false\n`,
      "-:3: interface.peerToPeer: false keeps peers from each other, expected true or none for " +
      "a hub (up runs a gateway without)\n",
    ],
    [
      ["hub", "-"],
      file.replace("Address", "PeerToPeer = maybe\nAddress"),
      '-:3: PeerToPeer: "maybe" is neither, expected true or false\n',
    ],
    [["hub"], "", "CONFIG: missing, expected a file, -, flags or variables (see --help)\n"],
    [["hub", "-"], "", "-:1: PrivateKey: missing, expected a key made by wirestack genkey\n"],
    [
      ["hub", "--masquerade"],
      "",
      "--masquerade: is for a device of the system, expected --tun " +
      "too; without one [Proxy] lets clients out, and nothing is to be set up\n",
    ],
  ];
  for (const [args, input, error] of cases) {
    assert.deepEqual(await runHere(args, input), { status: 2, out: "", error }, args.join(" "));
  }
});
