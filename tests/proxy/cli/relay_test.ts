import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { PeerInput } from "../../../proxy/config/config.ts";
import type { PeerStats } from "../../../proxy/gateway/gateway.ts";
import { MadeAuthority } from "../bind/certificates/made.ts";
import { captureLog } from "../log/capture.ts";
import { until } from "../pair.ts";
import { startWirestack } from "../start.ts";
import { Home, TASKS, USER } from "./home.ts";

const NAMES = ["alice", "bob"];

for (const task of TASKS) {
  Deno.test(
    `an ordinary user's hub takes peers in TLS, and its files again when told: ${task}`,
    { ignore: Deno.build.os === "windows" },
    async () => {
      using log = captureLog();
      await using home = await Home.create(task);
      const certs = `${home.path}/certs`;
      const authority = await MadeAuthority.make();
      const write = async (path: string, text: string) => {
        await Deno.writeTextFile(`${path}.new`, text, { mode: 0o600 });
        await Deno.chown(`${path}.new`, USER, USER);
        await Deno.rename(`${path}.new`, path); // as who renews them does
      };
      const certificate = async (file: string, options: Parameters<MadeAuthority["leaf"]>[0]) => {
        const { cert, key } = await authority.leaf(options);
        await write(`${certs}/${file}.pem`, cert);
        await write(`${certs}/${file}.key`, key);
      };
      await Deno.mkdir(certs);
      await Deno.chown(certs, USER, USER);
      await write(`${certs}/ca.pem`, authority.cert);
      const server = { usage: "serverAuth", hosts: ["localhost"] } as const;
      await certificate("hub", { name: "hub", ...server });
      for (const name of NAMES) await certificate(name, { name });
      const hubKey = generatePrivateKey();
      const keys = NAMES.map(() => generatePrivateKey());
      const file = (more = "") =>
        `[Interface]\nPrivateKey = ${encodeKey(hubKey)}\nAddress = 10.9.0.1/24\n` +
        keys.map((key, i) =>
          `[Peer]\nPublicKey = ${encodeKey(publicKeyOf(key))}\nAllowedIPs = 10.9.0.${i + 2}/32\n`
        ).join("") +
        "[Relay]\nListen = tls:127.0.0.1:0\nCert = certs/hub.pem\nKey = certs/hub.key\n" +
        `ClientCa = certs/ca.pem\n${more}`;
      await write(home.file, file());
      const hub = await home.runs("hub", "control socket");
      try {
        const port = Number(/"?tls:127\.0\.0\.1:(\d+): listening/.exec(hub.log)?.[1]);
        const peer = (i: number) =>
          startWirestack({
            interface: { privateKey: keys[i]!, address: `10.9.0.${i + 2}/24` },
            peers: [
              {
                publicKey: publicKeyOf(hubKey),
                allowedIps: "10.9.0.0/24",
                fallback: `tls://localhost:${port}`,
                cert: `${certs}/${NAMES[i]}.pem`,
                key: `${certs}/${NAMES[i]}.key`,
                ca: `${certs}/ca.pem`,
                persistentKeepalive: 5,
              } satisfies PeerInput,
            ],
          });
        await using alice = await peer(0);
        await using bob = await peer(1);
        using listener = bob.listen({ port: 7 });
        const answered = (async () => {
          const conn = await listener.accept();
          await conn.readable.pipeTo(conn.writable);
        })();
        answered.catch(() => {});
        // The hub knows where they are: a connection alone says nothing of who is behind it.
        const complete = /handshake complete with tls:\/\//;
        await until(
          () => log.lines.filter((line) => complete.test(line)).length === 2,
          "both",
        );
        using conn = await alice.connect({ hostname: "10.9.0.3", port: 7 });
        await conn.write(new TextEncoder().encode("through TLS, twice"));
        await conn.closeWrite();
        assert.equal(await new Response(conn.readable).text(), "through TLS, twice");
        await answered;
        const { status, out } = await home.run("peers", "wg0", "--json");
        assert.equal(status, 0);
        for (const { endpoint } of JSON.parse(out) as PeerStats[]) {
          assert.match(endpoint!, /^tls:127\.0\.0\.1:\d+$/);
        }

        await certificate("hub", { name: "renewed", ...server });
        await write(home.file, file("AllowedClients = alice\n"));
        assert.equal((await home.run("reload", "wg0")).status, 0);
        const refused = "is shown there is not among those that are let in";
        await until(
          () => log.lines.some((line) => line.includes(refused)),
          "bob is refused",
        );
        assert.ok(log.lines.every((line) => !/alice.*refused/.test(line)));
      } finally {
        assert.equal((await hub.stop()).status, 0);
      }
    },
  );
}
