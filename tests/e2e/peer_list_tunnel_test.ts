/**
 * A list of peers on the web, and everything of the client in a tunnel that is dead: the list says where
 * the hub is now, so it is read around the tunnel.
 *
 * @module
 */

import assert from "node:assert/strict";
import { encodeKey } from "../../proxy/base64.ts";
import { formatPeerList } from "../../proxy/gateway/peer_list/content.ts";
import {
  generateSigningKey,
  publicSigningKey,
  signPeerList,
} from "../../proxy/gateway/peer_list/text.ts";
import { MadeAuthority } from "../proxy/bind/certificates/made.ts";
import { labTest } from "./lab.ts";
import { keyPair } from "./wireguard_go.ts";
import { PUBLIC, SERVER_PORT, TunnelSite } from "./tunnel_site.ts";

const LIST = "list.test";
const PORT = 8555;
/** Where nobody is. */
const GONE = "203.0.113.77";

/** Serves files of this folder in TLS. */
const SERVE = `
import http.server, ssl, sys
server = http.server.ThreadingHTTPServer(("", ${PORT}), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
`;

for (const lines of [[], ["KillSwitch = true"]]) {
  labTest(
    `a hub that has moved is found by the list, through no tunnel: ${lines[0] ?? "no kill switch"}`,
    async () => {
      await using site = await TunnelSite.start("wirestack", `${GONE}:${SERVER_PORT}`);
      const folder = `${site.lab.directory}/web`;
      await Deno.mkdir(folder);
      await Deno.chmod(site.lab.directory, 0o755);
      const write = (name: string, text: string) => Deno.writeTextFile(`${folder}/${name}`, text);
      const authority = await MadeAuthority.make();
      const { cert, key } = await authority.leaf({ usage: "serverAuth", hosts: [LIST] });
      await Promise.all([
        write("cert.pem", cert),
        write("key.pem", key),
        write("ca.pem", authority.cert),
      ]);
      const seed = generateSigningKey();
      const other = await keyPair();
      const body = formatPeerList({
        serial: 1,
        peers: [{ publicKey: other.publicKey, allowedIps: ["10.77.0.0/24"] }],
      });
      await write("peers.list", await signPeerList(body, seed));
      const web = site.public.spawn("web", ["python3", "-u", "-c", SERVE], { cwd: folder });
      await web.line(/ready/);
      await site.client.etc("hosts", `127.0.0.1 localhost\n${PUBLIC[0]} ${LIST}\n`);
      const before = await site.state();
      const process = await site.up([
        ...lines,
        `PeersFrom = https://${LIST}:${PORT}/peers.list`,
        `PeersKey = ${encodeKey(await publicSigningKey(seed))}`,
        `PeersCa = ${folder}/ca.pem`,
      ]);
      // From here on nobody says what the name stands for.
      await site.client.etc("hosts", "127.0.0.1 localhost\n");
      await process.line(/serial 1, 1 peers added/);
      assert.equal(await site.seenAs(PUBLIC[1], 3), undefined, "the tunnel is dead");
      process.signal("SIGTERM");
      assert.equal((await process.exit()).code, 0, `${process}`);
      assert.deepEqual(await site.state(), before);
      web.signal("SIGTERM");
      await web.exit();
    },
    ["curl", "python3", "bash", "ping"],
  );
}
