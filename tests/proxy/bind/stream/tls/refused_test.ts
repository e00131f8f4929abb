/** Whoever is refused is told why, and so is whoever reads the hub's log. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTls, type ConnectionOptions, createServer } from "node:tls";
import { readCertificates } from "../../../../../proxy/bind/certificates/certificate.ts";
import { Farewell, farewellText } from "../../../../../proxy/bind/stream/mod.ts";
import {
  PROTOCOL,
  TlsDialer,
  type TlsDialerOptions,
} from "../../../../../proxy/bind/stream/tls/mod.ts";
import { daysFromNow, type LeafOptions, MadeAuthority } from "../../certificates/made.ts";
import { captureLog } from "../../../log/capture.ts";
import { Lab, until } from "./lab.ts";
import { ownTcpPort } from "../../../own_port.ts";

const OLD = new Date("2026-01-02T00:00:00Z");

/** Somebody comes with a certificate. @returns what it hears. */
async function comes(lab: Lab, options: LeafOptions, authority?: MadeAuthority): Promise<string> {
  const { certPath, keyPath } = await lab.files(options, authority);
  const { endpoint } = await lab.client({}, { certPath, keyPath });
  endpoint.open();
  await until(() => endpoint.problem !== undefined || endpoint.state === "open");
  const heard = endpoint.problem ?? "let in";
  endpoint.close();
  return heard;
}

const CASES: readonly (readonly [what: string, LeafOptions, heard: Farewell, said: RegExp])[] = [
  ["has expired", { notAfter: OLD }, Farewell.Expired, /laptop, has expired on 2026-01-02$/],
  [
    "is not valid yet",
    { notBefore: daysFromNow(5) },
    Farewell.NotYetValid,
    /laptop, is not valid before 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
  ],
  [
    "is a server's",
    { usage: "serverAuth" },
    Farewell.OtherPurpose,
    /laptop, is not one for clients$/,
  ],
];

for (const [what, options, heard, said] of CASES) {
  Deno.test(`a client whose certificate ${what} is told so, and so is the log`, async () => {
    using log = captureLog();
    await using lab = await Lab.start();
    assert.equal(await comes(lab, options), farewellText(heard));
    const lines = log.lines.filter((line) => /is refused/.test(line));
    assert.equal(lines.length, 1);
    assert.match(lines[0]!, /tls:127\.0\.0\.1:0: 127\.0\.0\.1:\d+ is refused: its certificate, /);
    assert.match(lines[0]!.trimEnd(), said);
    assert.equal(lab.hub.bind.counters.accepted, 0);
    assert.equal(lab.listener.server.counters.refused, 1);
  });
}

Deno.test("so is one of another authority, even of the same name, and one that made its own", async () => {
  using log = captureLog();
  await using lab = await Lab.start();
  for (const name of ["Theirs", "Ours"]) {
    const heard = await comes(lab, {}, await MadeAuthority.make(name));
    assert.equal(heard, farewellText(Farewell.OtherAuthority));
    assert.ok(log.lines.some((line) => line.includes(`is of another authority, "${name}"`)));
  }
});

Deno.test("so is one that has been revoked, and one that is not in the list of who is allowed", async () => {
  using log = captureLog();
  // The first that the authority signs is the hub's, the next the client's.
  await using lab = await Lab.start({ revoked: ["41"], allowed: ["laptop", "phone"] });
  assert.equal(await comes(lab, { name: "laptop" }), farewellText(Farewell.Revoked));
  assert.equal(await comes(lab, { name: "Phone" }), "let in");
  assert.equal(await comes(lab, { name: "tablet" }), farewellText(Farewell.NotAllowed));
  assert.ok(log.lines.some((line) => line.includes("laptop, has been revoked")));
  assert.ok(log.lines.some((line) => line.includes("tablet, is not among AllowedClients")));
});

/** What a client that speaks TLS as it likes gets from a hub: bytes until the end. */
async function speak(lab: Lab, options: ConnectionOptions): Promise<Uint8Array> {
  const socket = connectTls({
    host: "127.0.0.1",
    port: lab.listener.port,
    rejectUnauthorized: false,
    ALPNProtocols: [PROTOCOL],
    ...options,
  });
  const bytes: number[] = [];
  socket.on("data", (chunk) => bytes.push(...chunk));
  socket.on("error", () => {});
  await new Promise((resolve) => socket.once("close", resolve));
  return Uint8Array.from(bytes);
}

Deno.test("who shows no certificate, speaks an older TLS or another protocol is refused", async () => {
  using log = captureLog();
  await using lab = await Lab.start();
  assert.deepEqual(await speak(lab, {}), Uint8Array.of(0, 1, Farewell.NoCertificate));
  const { leaf } = await lab.files();
  const [cert, key] = [leaf.cert, leaf.key];
  assert.deepEqual(await speak(lab, { cert, key, maxVersion: "TLSv1.2" }), new Uint8Array(0));
  assert.deepEqual(
    await speak(lab, { cert, key, ALPNProtocols: ["h2"] }),
    new Uint8Array(0),
  );
  assert.deepEqual(
    await speak(lab, { cert, key, ALPNProtocols: [] }),
    Uint8Array.of(0, 1, Farewell.OtherProtocol),
  );
  const plain = await Deno.connect({ hostname: "127.0.0.1", port: lab.listener.port });
  await plain.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
  assert.equal(await plain.read(new Uint8Array(10)).catch(() => null), null);
  plain.close();
  const reasons = log.lines.map((line) => line.replace(/.*is refused: /, "").trimEnd());
  assert.deepEqual(reasons.map((reason) => reason.replace(/failed: .*/, "failed")), [
    "it has shown no certificate",
    "the TLS handshake failed",
    "the TLS handshake failed",
    "it does not speak wirestack/1",
    "it does not speak TLS",
  ]);
});

async function dialProblem(lab: Lab, options: Partial<TlsDialerOptions>): Promise<string> {
  const { endpoint } = await lab.client({}, options);
  endpoint.open();
  await until(() => endpoint.problem !== undefined || endpoint.state === "open");
  const { problem = "connected" } = endpoint;
  endpoint.close();
  return problem;
}

/** What the hub's log says, in one line, of whoever does not accept its certificate. */
async function saidOfHub(log: { readonly lines: readonly string[] }): Promise<string> {
  const lines = () => log.lines.filter((line) => /goes: the certificate/.test(line));
  await until(() => lines().length > 0);
  assert.equal(lines().length, 1);
  const [, transport, reason] = /(\w+):127\.0\.0\.1:0: laptop from 127\.0\.0\.1:\d+ goes: (.*)$/
    .exec(
      lines()[0]!.trimEnd(),
    )!;
  return `${transport}: ${reason}`;
}

Deno.test("a server whose certificate is wrong is refused, with what is wrong, and its log says so", async () => {
  using log = captureLog();
  await using lab = await Lab.start({ server: { hosts: ["hub.example.com"] } });
  const pem = Deno.readTextFileSync(`${lab.folder}/hub.pem`);
  const [hub] = readCertificates(pem);
  assert.equal(
    await dialProblem(lab, {}),
    "refused: the server's certificate is not for localhost, but for DNS:hub.example.com",
  );
  const said = "tls: the certificate that is shown here";
  assert.equal(await saidOfHub(log), `${said} is for another name than was asked for`);
  log.lines.length = 0;
  const other = await MadeAuthority.make("Theirs");
  Deno.writeTextFileSync(`${lab.folder}/other.pem`, other.cert);
  assert.equal(
    await dialProblem(lab, { caPath: `${lab.folder}/other.pem` }),
    'refused: the server\'s certificate, hub, is of another authority, "Ours"',
  );
  assert.equal(await saidOfHub(log), `${said} is of an authority that is not trusted there`);
  log.lines.length = 0;
  assert.equal(
    await dialProblem(lab, { pins: [new Uint8Array(32)] }),
    `refused: the server's certificate, hub, has a key that is not pinned, ${hub!.pinText}`,
  );
  assert.equal(await saidOfHub(log), `${said} has a key that is not pinned there`);
  // A pin of the key is as good as an authority and a name, if the key is all that is asked for.
  const { certPath, keyPath } = await lab.files();
  const pinned = new TlsDialer({
    ...{ url: lab.url, host: "localhost", port: lab.listener.port, certPath, keyPath },
    pins: [hub!.pin],
  });
  (await pinned.dial(new AbortController().signal)).close();
  assert.equal(lab.hub.heard.length, 0);
});

for (const transport of ["tls", "grpc"] as const) {
  for (
    const [what, server, expected, said] of [
      ["has expired", { notAfter: OLD }, ", hub, has expired on 2026-01-02", "has expired"],
      [
        "is not valid yet",
        { notBefore: daysFromNow(3) },
        ", hub, is not valid before 20",
        "is not valid yet",
      ],
      [
        "is a client's",
        { usage: "clientAuth" },
        ", hub, is not one for servers",
        "is not one for servers",
      ],
      [
        "is for another name",
        { hosts: ["hub.example.com"] },
        " is not for localhost, but for DNS:hub.example.com",
        "is for another name than was asked for",
      ],
    ] as const
  ) {
    Deno.test(`${transport}: so is one whose certificate ${what}`, async () => {
      using log = captureLog();
      await using lab = await Lab.start({ server, transport });
      const problem = await dialProblem(lab, {});
      assert.ok(problem.startsWith(`refused: the server's certificate${expected}`), problem);
      assert.equal(
        await saidOfHub(log),
        `${transport}: the certificate that is shown here ${said}`,
      );
      assert.equal(lab.hub.heard.length, 0);
    });
  }
}

Deno.test("a server of an older TLS, of another protocol, or of none, is refused; one that is not there is said to be", async () => {
  await using lab = await Lab.start();
  const { leaf } = await lab.files({ usage: "serverAuth", hosts: ["localhost"] });
  const [cert, key] = [leaf.cert, leaf.key];
  const problemWith = async (options: object) => {
    const server = createServer(
      { cert, key, ...options },
      (socket) => socket.on("error", () => {}),
    );
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const problem = await dialProblem(lab, { port, host: "localhost" });
    server.close();
    return problem;
  };
  assert.match(
    await problemWith({ maxVersion: "TLSv1.2", ALPNProtocols: [PROTOCOL] }),
    /^the TLS handshake failed: /,
  );
  assert.match(await problemWith({ ALPNProtocols: ["h2"] }), /^the TLS handshake failed: /);
  assert.equal(await problemWith({}), `refused: the server does not speak ${PROTOCOL}`);
  const port = ownTcpPort();
  assert.equal(await dialProblem(lab, { port, host: "127.0.0.1" }), "nobody listens there");
  assert.equal(
    await dialProblem(lab, { host: "no-such-host.invalid" }),
    "no-such-host.invalid is not found",
  );
  assert.match(
    await dialProblem(lab, { certPath: `${lab.folder}/none.pem` }),
    /none\.pem is not there, expected a file in PEM$/,
  );
});

Deno.test("a server that says nothing is waited for as long as said", async () => {
  const silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using lab = await Lab.start();
  const { endpoint } = await lab.client({}, { port: silent.addr.port, limitMs: 200 });
  endpoint.open();
  await until(() => endpoint.problem !== undefined);
  assert.equal(endpoint.problem, "no answer within 1 s");
  endpoint.close();
  silent.close();
});
