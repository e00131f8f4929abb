/**
 * `check` and the files of certificates: what can never work is an error with its line, what may work
 * later a warning.
 *
 * @module
 */

import assert from "node:assert/strict";
import { daysFromNow, type Leaf, MadeAuthority } from "../bind/certificates/made.ts";
import { runHere } from "./run_here.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const HUB = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const INTERFACE = `[Interface]\nPrivateKey = ${PRIVATE}\nAddress = 10.9.0.2/24\n`;
const server = { usage: "serverAuth", hosts: ["localhost"] } as const;

/** A folder with certificates of every kind. */
class Certificates implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync();

  static async make(): Promise<Certificates> {
    const made = new Certificates();
    const authority = await MadeAuthority.make("ours", daysFromNow(100));
    const other = await MadeAuthority.make("theirs");
    const put = (name: string, { cert, key }: Pick<Leaf, "cert" | "key">) => {
      made.write(`${name}.pem`, cert);
      made.write(`${name}.key`, key);
    };
    put("client", await authority.leaf());
    put("another", await authority.leaf());
    put("server", await authority.leaf(server));
    put("stranger", await other.leaf());
    put("old", await authority.leaf({ notBefore: daysFromNow(-9), notAfter: daysFromNow(-2) }));
    put("oldhub", await authority.leaf({ ...server, notAfter: daysFromNow(-0.5) }));
    made.write("ca.pem", authority.cert);
    return made;
  }

  write(name: string, text: string): void {
    Deno.writeTextFileSync(`${this.folder}/${name}`, text, { mode: 0o600 });
  }

  /** @returns what is said, `F` for the folder. */
  async check(text: string) {
    this.write("wg0.conf", `${text}[Proxy]\nSubnets = 192.0.2.0/24\n`);
    const { status, error } = await runHere(["check", `${this.folder}/wg0.conf`]);
    return { status, error: error.replaceAll(this.folder, "F") };
  }

  client(files: { cert?: string; key?: string; ca?: string }) {
    const { cert = "client.pem", key = "client.key", ca = "Ca = ca.pem" } = files;
    return this.check(
      `${INTERFACE}[Peer]\nPublicKey = ${HUB}\nAllowedIPs = 10.9.0.1/32\n` +
        `Fallback = tls://hub.example.com:443\nCert = ${cert}\nKey = ${key}\n${ca}\n`,
    );
  }

  hub(files: { cert?: string; key?: string; more?: string }) {
    const { cert = "server.pem", key = "server.key", more = "" } = files;
    return this.check(
      `${INTERFACE}[Relay]\nListen = tls:127.0.0.1:0\nCert = ${cert}\nKey = ${key}\n` +
        `ClientCa = ca.pem\n${more}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

Deno.test("a client's files that can never work are errors with their lines", async () => {
  await using made = await Certificates.make();
  assert.deepEqual(await made.client({}), { status: 0, error: "" });
  const wrong: [Parameters<Certificates["client"]>[0], string][] = [
    [{ cert: "nope.pem" }, "F/wg0.conf:8: Cert: F/nope.pem is not there, expected a file in PEM"],
    [{ key: "nope.key" }, "F/wg0.conf:9: Key: F/nope.key is not there, expected a file in PEM"],
    [{ ca: "Ca = no.pem" }, "F/wg0.conf:10: Ca: F/no.pem is not there, expected a file in PEM"],
    [
      { key: "another.key" },
      "F/wg0.conf:9: Key: F/another.key is not the key of F/client.pem, expected the one that " +
      "belongs to it",
    ],
    [
      { cert: "client.key" },
      "F/wg0.conf:8: Cert: F/client.key: no certificate, expected a certificate in PEM",
    ],
    [
      { cert: "server.pem", key: "server.key" },
      "F/wg0.conf:8: Cert: F/server.pem is not one for clients, expected a client's certificate",
    ],
  ];
  for (const [files, line] of wrong) {
    assert.deepEqual(await made.client(files), { status: 2, error: `${line}\n` });
  }
});

Deno.test("a client's files that may work later, or with another hub, are warnings", async () => {
  await using made = await Certificates.make();
  const old = await made.client({ cert: "old.pem", key: "old.key" });
  assert.equal(old.status, 0);
  assert.match(old.error, /^warning: F\/wg0\.conf:8: Cert: F\/old\.pem has expired on [\d-]+\n$/);
  const stranger = { cert: "stranger.pem", key: "stranger.key" };
  assert.deepEqual(await made.client(stranger), {
    status: 0,
    error: "warning: F/wg0.conf:8: Cert: F/stranger.pem is of another authority than F/ca.pem, " +
      '"theirs", expected one that the hub has as ClientCa\n',
  });
  const pin = `Pin = sha256/${btoa("x".repeat(32))}`;
  assert.deepEqual(await made.client({ ...stranger, ca: pin }), { status: 0, error: "" });
});

Deno.test("a hub's files that can never work are errors with their lines, an old one is a warning", async () => {
  await using made = await Certificates.make();
  assert.deepEqual(await made.hub({}), { status: 0, error: "" });
  const wrong: [Parameters<Certificates["hub"]>[0], string][] = [
    [{ cert: "nope.pem" }, "F/wg0.conf:6: Cert: F/nope.pem is not there, expected a file in PEM"],
    [
      { key: "another.key" },
      "F/wg0.conf:7: Key: F/another.key is not the key of F/server.pem, expected the one that " +
      "belongs to it",
    ],
    [
      { cert: "client.pem", key: "client.key" },
      "F/wg0.conf:6: Cert: F/client.pem is not one for servers, expected a server's certificate",
    ],
    [
      { more: "ClientCaKey = another.key\n" },
      "F/wg0.conf:9: ClientCaKey: F/another.key is not the key of F/ca.pem, expected the one that " +
      "belongs to it",
    ],
  ];
  for (const [files, line] of wrong) {
    assert.deepEqual(await made.hub(files), { status: 2, error: `${line}\n` });
  }
  assert.deepEqual(await made.hub({ more: "ClientCaKey = stick.key\n" }), {
    status: 0,
    error: "warning: F/wg0.conf:9: ClientCaKey: F/stick.key is not there, expected a file in PEM\n",
  });
  const old = await made.hub({ cert: "oldhub.pem", key: "oldhub.key" });
  assert.equal(old.status, 0);
  assert.match(old.error, /^warning: F\/wg0\.conf:6: Cert: F\/oldhub\.pem has expired on /);
});
