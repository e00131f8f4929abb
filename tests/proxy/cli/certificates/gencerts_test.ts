/**
 * Looked at with openssl, which has read more certificates than anybody.
 */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { ConfigError } from "../../../../proxy/config/error.ts";
import { runHere } from "../run_here.ts";
import { LEAVES, Made, openssl } from "./made.ts";
import { alone } from "../../../alone.ts";

const DAY = 86_400_000;
const ROLES = [["server", "sslserver"], ["client", "sslclient"], ["proxy", "sslclient"]] as const;

const ignore = Deno.build.os === "windows";

Deno.test("an authority and three certificates are made, and OpenSSL takes each for what it is", async () => {
  await using made = new Made();
  const printed = await made.gencerts({ name: ["hub.example.com", "fd00::1,203.0.113.7"] });
  assert.match(
    printed,
    new RegExp(
      `^${made.out}/ca: an authority, until \\S+Z\n` +
        `${made.out}/server: for the server hub.example.com, fd00::1, 203.0.113.7, until \\S+Z\n` +
        `${made.out}/client: for a client, until \\S+Z\n` +
        `${made.out}/proxy: for a client, until \\S+Z\n$`,
    ),
  );
  const ca = `${made.out}/ca/cert.pem`;
  const verify = (...args: string[]) => openssl("verify", "-x509_strict", "-CAfile", ca, ...args);
  for (const [folder, purpose] of ROLES) {
    const file = `${made.out}/${folder}/cert.pem`;
    const other = purpose === "sslserver" ? "sslclient" : "sslserver";
    assert.equal((await verify("-purpose", purpose, file)).out, `${file}: OK\n`);
    assert.match((await verify("-purpose", other, file)).error, /unsu\w+ certificate purpose/);
  }
  const server = `${made.out}/server/cert.pem`;
  for (
    const [option, name, holds] of [
      ["-verify_hostname", "hub.example.com", true],
      ["-verify_hostname", "other.example.com", false],
      ["-verify_hostname", "localhost", false],
      ["-verify_ip", "203.0.113.7", true],
      ["-verify_ip", "fd00::1", true],
      ["-verify_ip", "127.0.0.1", false],
    ] as const
  ) {
    assert.equal((await verify(option, name, server)).code === 0, holds, name);
  }
});

Deno.test("what stands in the certificates: usage, constraints, names, serial numbers, times", async () => {
  await using made = new Made();
  const now = Date.UTC(2026, 10, 26, 4, 0, 0, 999);
  await made.gencerts({ days: "30" }, now);
  const ca = (await openssl("x509", "-in", `${made.out}/ca/cert.pem`, "-noout", "-text")).out;
  for (
    const part of [
      /Version: 3/,
      /Basic Constraints: critical\n\s+CA:TRUE, pathlen:0\n/,
      /Key Usage: critical\n\s+Certificate Sign, CRL Sign\n/,
      /Not Before: Nov 26 03:55:00 2026 GMT/,
      /Not After : Nov 23 04:00:00 2036 GMT/,
      /ASN1 OID: prime256v1/,
    ]
  ) assert.match(ca, part);
  const [, issuer] = ca.match(/Subject: (CN = Wirestack authority [0-9a-f]{8})\n/)!;
  const [, keyId] = ca.match(/Subject Key Identifier: \n\s+(\S+)\n/)!;

  const serials = new Set<string>();
  for (const folder of LEAVES) {
    const file = `${made.out}/${folder}/cert.pem`;
    const text = (await openssl("x509", "-in", file, "-noout", "-text")).out;
    for (
      const part of [
        /Basic Constraints: critical\n\s+CA:FALSE\n/,
        /Key Usage: critical\n\s+Digital Signature\n/,
        folder === "server"
          ? /Extended Key Usage: \n\s+TLS Web Server Authentication\n/
          : /Extended Key Usage: \n\s+TLS Web Client Authentication\n/,
        /Signature Algorithm: ecdsa-with-SHA256/,
        /Not Before: Nov 26 03:55:00 2026 GMT/,
        /Not After : Dec 26 04:00:00 2026 GMT/,
        new RegExp(`Subject: CN = ${folder}\n`),
        new RegExp(`Issuer: ${issuer}\n`),
        new RegExp(`Authority Key Identifier: \n\\s+(?:keyid:)?${keyId}\n`),
      ]
    ) assert.match(text, part, folder);
    const { serialNumber } = new X509Certificate(made.read(folder, "cert"));
    assert.match(serialNumber, /^[4-7][0-9A-F]{31}$/i);
    serials.add(serialNumber);
    assert.equal(
      /DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1\n/.test(text),
      folder === "server",
    );
  }
  assert.equal(serials.size, LEAVES.length);
});

Deno.test(
  "keys are for their owner alone, whatever the umask is",
  { ignore },
  (t) =>
    alone(t, async () => {
      await using made = new Made();
      Deno.umask(0);
      await made.gencerts();
      const mode = (path: string) => (Deno.statSync(path).mode! & 0o777).toString(8);
      assert.equal(mode(made.out), "700");
      for (const folder of ["ca", ...LEAVES]) {
        assert.equal(mode(`${made.out}/${folder}`), "700");
        assert.equal(mode(`${made.out}/${folder}/key.pem`), "600");
      }
      assert.equal(Object.keys(made.contents()).length, 13);
    }),
);

Deno.test("nothing is overwritten, also where one of the folders alone is there", async () => {
  await using made = new Made();
  await made.gencerts();
  const refused = (folder: string) => ({
    status: 2,
    out: "",
    error:
      `${made.out}/${folder}: is there already, expected a new folder (--out), or --renew for ` +
      "new certificates of the authority in it\n",
  });
  const before = made.contents();
  assert.deepEqual(await runHere(["gencerts", "--out", made.out]), refused("ca"));
  assert.deepEqual(made.contents(), before);

  for (const folder of ["ca", "server", "client"]) {
    Deno.removeSync(`${made.out}/${folder}`, { recursive: true });
  }
  const left = made.contents();
  assert.deepEqual(await runHere(["gencerts", "--out", made.out]), refused("proxy"));
  assert.deepEqual(made.contents(), left);

  // A link that leads nowhere is something, too.
  Deno.removeSync(`${made.out}/proxy`, { recursive: true });
  Deno.symlinkSync("/nonexistent", `${made.out}/server`);
  assert.deepEqual(await runHere(["gencerts", "--out", made.out]), refused("server"));
  assert.equal(Deno.readLinkSync(`${made.out}/server`), "/nonexistent");
});

Deno.test("empty folders, and other files beside them, are no hindrance", async () => {
  await using made = new Made();
  Deno.mkdirSync(`${made.out}/server`, { recursive: true });
  Deno.writeTextFileSync(`${made.out}/README`, "ours");
  await made.gencerts();
  assert.match(made.read("server", "key"), /^-----BEGIN PRIVATE KEY-----\n/);
  assert.equal(Deno.readTextFileSync(`${made.out}/README`), "ours");
});

Deno.test("renewed certificates have their keys, names and authority, and new serial numbers and times", async () => {
  await using made = new Made();
  const now = Date.now();
  await made.gencerts({ name: ["hub.example.com", "*.example.net", "fd00::1"] }, now - 300 * DAY);
  const before = made.contents();
  const old = new X509Certificate(made.read("server", "cert"));
  const printed = await made.gencerts({ renew: true }, now);
  assert.match(
    printed,
    /server: the same key, for the server hub\.example\.com, \*\.example\.net, fd00::1, until /,
  );
  const after = made.contents();
  const changed = Object.keys(after).filter((path) => after[path] !== before[path]).sort();
  assert.deepEqual(Object.keys(after).sort(), Object.keys(before).sort());
  assert.deepEqual(changed, [...LEAVES].sort().map((leaf) => `${made.out}/${leaf}/cert.pem`));

  const file = `${made.out}/server/cert.pem`;
  const certificate = new X509Certificate(made.read("server", "cert"));
  assert.equal(certificate.subjectAltName, old.subjectAltName);
  assert.notEqual(certificate.serialNumber, old.serialNumber);
  assert.ok(Date.parse(certificate.validTo) > now + 364 * DAY);
  const verified = await openssl("verify", "-CAfile", `${made.out}/ca/cert.pem`, file);
  assert.equal(verified.code, 0, verified.error);
  assert.equal(
    (await openssl("x509", "-in", file, "-noout", "-pubkey")).out,
    (await openssl("pkey", "-in", `${made.out}/server/key.pem`, "-pubout")).out,
  );

  // Other names are those that are given, and no more.
  await made.gencerts({ renew: true, name: ["other.example.com"] }, now);
  assert.equal(
    new X509Certificate(made.read("server", "cert")).subjectAltName,
    "DNS:other.example.com",
  );
});

Deno.test("a folder that was removed comes back with a new key", async () => {
  await using made = new Made();
  await made.gencerts();
  const [key, server] = [made.read("client", "key"), made.read("server", "key")];
  Deno.removeSync(`${made.out}/client`, { recursive: true });
  assert.match(await made.gencerts({ renew: true }), /\/client: a new key, for a client, until /);
  assert.notEqual(made.read("client", "key"), key);
  assert.equal(made.read("server", "key"), server);
  const verified = await openssl(
    ...["verify", "-x509_strict", "-CAfile", `${made.out}/ca/cert.pem`],
    `${made.out}/client/cert.pem`,
  );
  assert.equal(verified.code, 0, verified.error);
});

Deno.test(
  "a renewed certificate keeps its file's mode, and a link stays one",
  { ignore },
  async () => {
    await using made = new Made();
    await made.gencerts();
    const file = `${made.out}/server/cert.pem`;
    Deno.renameSync(file, `${made.path}/moved.pem`);
    Deno.symlinkSync(`${made.path}/moved.pem`, file);
    Deno.chmodSync(`${made.path}/moved.pem`, 0o640);
    const before = made.read("server", "cert");
    await made.gencerts({ renew: true });
    assert.notEqual(made.read("server", "cert"), before);
    assert.equal(Deno.readLinkSync(file), `${made.path}/moved.pem`);
    assert.equal(Deno.statSync(file).mode! & 0o777, 0o640);
  },
);

Deno.test("what an authority signs ends with it, and that is said", async () => {
  await using made = new Made();
  const now = Date.now();
  await made.gencerts({}, now - 3500 * DAY);
  const printed = await made.gencerts({ renew: true }, now);
  assert.match(
    printed,
    /\/ca ends before --days are over, .*every machine needs its ca\/cert\.pem/,
  );
  const end = (folder: "ca" | "server") => new X509Certificate(made.read(folder, "cert")).validTo;
  assert.equal(end("server"), end("ca"));
});

Deno.test("files that cannot be renewed are refused with the file and the reason, and nothing changes", async () => {
  await using made = new Made();
  await using other = new Made();
  await other.gencerts();
  const now = Date.now();
  await made.gencerts({}, now);
  const write = (name: string, text: string) => Deno.writeTextFileSync(`${made.out}/${name}`, text);
  const remove = (name: string) => Deno.removeSync(`${made.out}/${name}`, { recursive: true });
  const originals = made.contents();
  const p384 = await openssl(
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes"],
    ...["-subj", "/CN=x", "-keyout", `${other.path}/p384.pem`],
  );
  const encrypted = await openssl(
    ...["pkcs8", "-topk8", "-in", `${made.out}/ca/key.pem`, "-passout", "pass:x"],
  );
  assert.match(encrypted.out, /ENCRYPTED/);
  const cases: [() => void, RegExp, number?][] = [
    [() => {}, /ca\/cert\.pem: expired at \S+Z, expected .* every machine needs/, now + 3651 * DAY],
    [() => {}, /ca\/cert\.pem: is not valid before \S+Z, expected/, now - DAY],
    [
      () => write("ca/cert.pem", made.read("server", "cert")),
      /ca\/key\.pem: is not the key of cert\.pem beside it$/,
    ],
    [
      () => {
        write("ca/cert.pem", made.read("server", "cert"));
        write("ca/key.pem", made.read("server", "key"));
      },
      /ca\/cert\.pem: is not an authority's, expected/,
    ],
    [
      () => write("ca/key.pem", other.read("ca", "key")),
      /ca\/key\.pem: is not the key of cert\.pem/,
    ],
    [
      () => write("ca/cert.pem", "nothing"),
      /ca\/cert\.pem: is not a certificate, expected one in PEM$/,
    ],
    [() => write("ca/cert.pem", ""), /ca\/cert\.pem: is not a certificate/],
    [
      () => write("ca/cert.pem", made.read("ca", "cert") + other.read("ca", "cert")),
      /ca\/cert\.pem: is not a certificate/,
    ],
    [
      () => write("ca/key.pem", "nothing"),
      /ca\/key\.pem: is not a private key, expected one in PEM$/,
    ],
    [() => write("ca/key.pem", encrypted.out), /ca\/key\.pem: has a password, expected/],
    [
      () => {
        write("ca/cert.pem", p384.out);
        write("ca/key.pem", Deno.readTextFileSync(`${other.path}/p384.pem`));
      },
      /ca\/key\.pem: is not a key of P-256, expected/,
      now + 60_000, // OpenSSL's own clock may be a second further
    ],
    [() => remove("ca/key.pem"), /ca\/key\.pem: no such file, expected the key/],
    [() => remove("ca/cert.pem"), /ca\/cert\.pem: no such file, expected/],
    [() => remove("ca"), /\/ca: no authority is there, expected one/],
    [() => write("proxy/cert.pem", "x"), /proxy\/cert\.pem: is not a certificate, expected/],
    [() => remove("proxy/key.pem"), /proxy\/key\.pem: no such file, expected/],
  ];
  for (const [change, message, at] of cases) {
    change();
    const before = made.contents();
    await assert.rejects(made.gencerts({ renew: true }, at ?? now), (error) => {
      assert.ok(error instanceof ConfigError, `${error}`);
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /\n|BEGIN/);
      return true;
    });
    assert.deepEqual(made.contents(), before);
    Deno.mkdirSync(`${made.out}/ca`, { recursive: true });
    for (const [path, text] of Object.entries(originals)) {
      if (path.endsWith(".pem")) Deno.writeTextFileSync(path, text);
    }
  }
});

Deno.test("a renewal that cannot replace one certificate replaces none", async () => {
  await using made = new Made();
  await made.gencerts();
  Deno.removeSync(`${made.out}/client`, { recursive: true });
  // What a renewal that runs at the same time has there.
  Deno.writeTextFileSync(`${made.out}/proxy/.cert.pem.wirestack-new`, "");
  const before = made.contents();
  await assert.rejects(
    made.gencerts({ renew: true }),
    /proxy\/cert\.pem: somebody else is changing it, expected nobody/,
  );
  assert.deepEqual(made.contents(), before);
});

Deno.test("wrong options end with status 2 and a line each, and make nothing", async () => {
  await using made = new Made();
  const cases: [string[], RegExp][] = [
    [["--days", "0"], /^--days: "0" is wrong, expected 1 to 3650\n$/],
    [["--days", "3651"], /^--days: "3651" is wrong, expected/],
    [["--days", "1.5"], /^--days: "1\.5" is wrong/],
    [["--days", "-1"], /^--days: "-1" is wrong/],
    [["--days", "ten"], /^--days: "ten" is wrong/],
    [["--name", ""], /^--name: is empty, expected a DNS name or an address\n$/],
    [
      ["--name", "a.b", "10.0.0.256", "--name", "a/b"],
      /^--name: "10\.0\.0\.256" .*\n--name: "a\/b" .*\n$/,
    ],
    [
      ["--name", ...Array.from({ length: 101 }, (_, i) => `a${i}.example`)],
      /^--name: 101 of them, expected 100 at most\n$/,
    ],
    [["--name"], /^error: option '--name <NAME\|ADDRESS\.\.\.>' argument missing/],
    [["--out", ""], /^--out: "" is no path, expected a folder\n$/],
    [["surplus"], /^error: too many arguments for 'gencerts'/],
  ];
  for (const [args, message] of cases) {
    const out = args[0] === "--out" ? [] : ["--out", made.out];
    // Before the others: what follows --name is a name.
    const { status, out: printed, error } = await runHere(["gencerts", ...out, ...args]);
    assert.deepEqual([status, printed], [2, ""], args.join(" "));
    assert.match(error, message);
  }
  assert.deepEqual(made.contents(), {});
});
