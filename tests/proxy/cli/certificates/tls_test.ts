/**
 * TLS 1.3 with what `gencerts` makes: both ends show a certificate, and each looks at the other's.
 * Deno's node:tls has one reason for whatever is wrong with a chain, so OpenSSL is asked for it.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import tls from "node:tls";
import { type Folder, Made, openssl } from "./made.ts";

const DAY = 86_400_000;

/** What node:tls says of a chain that is wrong, of whichever end. */
const UNTRUSTED = /verify|self-signed/i;

/** What OpenSSL finds wrong with a certificate of `leaf`, by the authority of `ca`. */
async function reason(ca: Made, leaf: Made, folder: Folder, purpose: string): Promise<string> {
  const { error } = await openssl(
    ...["verify", "-purpose", purpose, "-CAfile", `${ca.out}/ca/cert.pem`],
    `${leaf.out}/${folder}/cert.pem`,
  );
  return error;
}

async function copy(from: Made, to: Made): Promise<void> {
  await Deno.remove(to.out, { recursive: true }).catch(() => {});
  await new Deno.Command("cp", { args: ["-a", from.out, to.out] }).output();
}

interface Ends {
  /** Whose certificate the server shows, and by what authority it looks at the client's. */
  server: Made;
  client: Made;
  /** Which of the client's. */
  as?: Folder;
  /** What the client dials. */
  name?: string;
}

interface Seen {
  /** What the client finds wrong. */
  client?: string;
  /** What the server finds wrong; undefined also where it was not shown a certificate. */
  server?: string;
  protocol?: string | null;
  /** Common name of what was shown to the server. */
  peer?: string;
  echoed?: string;
}

/** One connection, on which the server answers only to whom it trusts. */
async function shake({ server, client, as = "client", name = "localhost" }: Ends): Promise<Seen> {
  const seen: Seen = {};
  const listener = tls.createServer({
    cert: server.read("server", "cert"),
    key: server.read("server", "key"),
    ca: server.read("ca", "cert"),
    requestCert: true,
    rejectUnauthorized: false, // so that the reason can be asked for
    minVersion: "TLSv1.3",
  }, (socket) => {
    socket.on("error", () => {});
    seen.protocol = socket.getProtocol();
    if (!socket.authorized) {
      seen.server = `${socket.authorizationError}`;
      socket.destroy();
      return;
    }
    seen.peer = `${socket.getPeerCertificate().subject.CN}`;
    socket.end("welcome");
  });
  listener.on("tlsClientError", () => {});
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  try {
    const socket = tls.connect({
      host: "127.0.0.1",
      port: (listener.address() as AddressInfo).port,
      ...(/^[\d.:]+$/.test(name) ? {} : { servername: name }),
      ca: client.read("ca", "cert"),
      cert: client.read(as, "cert"),
      key: client.read(as, "key"),
      minVersion: "TLSv1.3",
    });
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => seen.echoed = (seen.echoed ?? "") + text);
    socket.on("error", (error: Error) => seen.client ??= error.message);
    await once(socket, "close").catch(() => {});
  } finally {
    listener.close();
  }
  return seen;
}

Deno.test("both ends trust each other by the authority, by name and by address, as client and as proxy", async () => {
  await using made = new Made();
  await made.gencerts();
  for (const as of ["client", "proxy"] as const) {
    for (const name of ["localhost", "127.0.0.1"]) {
      const seen = await shake({ server: made, client: made, as, name });
      assert.deepEqual(seen, { protocol: "TLSv1.3", peer: as, echoed: "welcome" });
    }
  }
});

Deno.test("after a renewal both ends trust each other, whichever of them has been given its own", async () => {
  await using made = new Made();
  await using before = new Made();
  await made.gencerts();
  await copy(made, before);
  await made.gencerts({ renew: true });
  assert.notEqual(made.read("server", "cert"), before.read("server", "cert"));
  for (const [server, client] of [[made, before], [before, made]] as const) {
    assert.equal((await shake({ server, client })).echoed, "welcome");
  }
});

Deno.test("a name that the server does not have is refused by the client", async () => {
  await using made = new Made();
  await made.gencerts({ name: ["hub.example.com"] });
  assert.equal(
    (await shake({ server: made, client: made, name: "hub.example.com" })).echoed,
    "welcome",
  );
  for (const name of ["localhost", "127.0.0.1", "other.example.com"]) {
    const seen = await shake({ server: made, client: made, name });
    assert.match(seen.client ?? "", /not match|altnames|NotValidForName/i, name);
    assert.equal(seen.echoed, undefined);
  }
});

Deno.test("another authority's certificates are refused, by either end", async () => {
  await using ours = new Made();
  await using others = new Made();
  await ours.gencerts();
  await others.gencerts();
  const stranger = await shake({ server: others, client: ours });
  assert.match(stranger.client ?? "", UNTRUSTED);
  assert.equal(stranger.echoed, undefined);
  assert.match(await reason(ours, others, "server", "sslserver"), /unable to get local issuer/);
  // This client trusts the server, and shows it what another authority has signed.
  await Deno.copyFile(`${ours.out}/ca/cert.pem`, `${others.out}/ca/cert.pem`);
  const seen = await shake({ server: ours, client: others });
  assert.match(seen.server ?? "", UNTRUSTED);
  assert.equal(seen.echoed, undefined);
});

Deno.test("expired certificates are refused, by either end, until they are renewed", async () => {
  await using made = new Made();
  await using old = new Made();
  await old.gencerts({ days: "1" }, Date.now() - 40 * DAY);
  await copy(old, made);
  await made.gencerts({ renew: true });

  const server = await shake({ server: old, client: made });
  assert.match(server.client ?? "", UNTRUSTED);
  assert.equal(server.echoed, undefined);
  assert.match(await reason(old, old, "server", "sslserver"), /certificate has expired/);
  const client = await shake({ server: made, client: old });
  assert.match(client.server ?? "", UNTRUSTED);
  assert.equal(client.echoed, undefined);
  assert.match(await reason(old, old, "client", "sslclient"), /certificate has expired/);
  assert.equal((await shake({ server: made, client: made })).echoed, "welcome");
  assert.equal(await reason(old, made, "client", "sslclient"), "");
});

Deno.test("a server's certificate is none for a client, and a client's none for a server", async () => {
  await using made = new Made();
  await using swapped = new Made();
  await made.gencerts();
  const seen = await shake({ server: made, client: made, as: "server" });
  assert.match(seen.server ?? "", UNTRUSTED);
  assert.equal(seen.echoed, undefined);
  await copy(made, swapped);
  await Deno.remove(`${swapped.out}/server`, { recursive: true });
  await Deno.rename(`${swapped.out}/proxy`, `${swapped.out}/server`);
  const other = await shake({ server: swapped, client: made });
  assert.match(other.client ?? "", UNTRUSTED);
  assert.equal(other.echoed, undefined);
});

Deno.test("openssl s_client and a server of node:tls trust each other", async () => {
  await using made = new Made();
  await made.gencerts({ name: ["hub.example.com"] });
  const peers: string[] = [];
  const listener = tls.createServer({
    cert: made.read("server", "cert"),
    key: made.read("server", "key"),
    ca: made.read("ca", "cert"),
    requestCert: true,
    minVersion: "TLSv1.3",
  }, (socket) => {
    socket.on("error", () => {});
    peers.push(`${socket.authorized} ${socket.getPeerCertificate().subject.CN}`);
    socket.end("welcome\n");
  });
  listener.on("tlsClientError", () => {});
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const connect = (name: string) =>
    openssl(
      ...["s_client", "-connect", `127.0.0.1:${(listener.address() as AddressInfo).port}`],
      ...["-servername", name, "-verify_hostname", name, "-verify_return_error", "-tls1_3"],
      ...["-CAfile", `${made.out}/ca/cert.pem`, "-cert", `${made.out}/client/cert.pem`],
      ...["-key", `${made.out}/client/key.pem`, "-ign_eof"],
    );
  try {
    const { code, out } = await connect("hub.example.com");
    assert.equal(code, 0);
    assert.match(out, /Verification: OK\n/);
    assert.match(out, /welcome\n/);
    assert.deepEqual(peers, ["true client"]);
    const refused = await connect("other.example.com");
    assert.notEqual(refused.code, 0);
    assert.match(`${refused.out}${refused.error}`, /hostname mismatch/i);
  } finally {
    listener.close();
  }
});
