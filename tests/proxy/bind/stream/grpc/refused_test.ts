import assert from "node:assert/strict";
import { daysFromNow, MadeAuthority } from "../../certificates/made.ts";
import { captureLog } from "../../../log/capture.ts";
import { Lab, until } from "../tls/lab.ts";

for (
  const [what, leaf, lab, expected, said] of [
    [
      "has expired",
      { notBefore: daysFromNow(-2), notAfter: daysFromNow(-1) },
      {},
      /^refused: the certificate that is shown there has expired$/,
      /laptop, has expired on 20/,
    ],
    [
      "is not valid yet",
      { notBefore: daysFromNow(5) },
      {},
      /^refused: the certificate that is shown there is not valid yet$/,
      /laptop, is not valid before 20/,
    ],
    [
      "has been revoked",
      {},
      { revoked: ["41"] },
      /^refused: the certificate that is shown there has been revoked$/,
      /laptop, has been revoked$/,
    ],
    [
      "is for servers",
      { usage: "serverAuth" },
      {},
      /^refused: the certificate that is shown there is not one for clients$/,
      /laptop, is not one for clients$/,
    ],
    [
      "is not on the list",
      { name: "stranger" },
      { allowed: ["laptop"] },
      /^refused: the certificate that is shown there is not among those that are let in$/,
      /stranger, is not among AllowedClients$/,
    ],
  ] as const
) {
  Deno.test(`in gRPC, whose certificate ${what} is told so, and so is the log`, async () => {
    using log = captureLog();
    await using hub = await Lab.start({ transport: "grpc", ...lab });
    const { endpoint } = await hub.client(leaf);
    endpoint.open();
    await until(() => endpoint.problem !== undefined);
    assert.match(endpoint.problem!, expected);
    assert.equal([...hub.hub.bind.accepted].length, 0);
    const lines = log.lines.filter((line) => /is refused/.test(line));
    assert.equal(lines.length, 1);
    assert.match(lines[0]!, /grpc:127\.0\.0\.1:0: 127\.0\.0\.1:\d+ is refused: its certificate, /);
    assert.match(lines[0]!.trimEnd(), said);
  });
}

Deno.test("in gRPC, so is one of another authority, and a hub whose key is not pinned", async () => {
  using log = captureLog();
  await using lab = await Lab.start({ transport: "grpc" });
  const problemOf = async ({ endpoint }: Awaited<ReturnType<Lab["client"]>>) => {
    endpoint.open();
    await until(() => endpoint.problem !== undefined);
    const { problem } = endpoint;
    endpoint.close();
    return problem!;
  };
  const { certPath, keyPath } = await lab.files({}, await MadeAuthority.make("Theirs"));
  assert.equal(
    await problemOf(await lab.client({}, { certPath, keyPath })),
    "refused: the certificate that is shown there is of an authority that the other side does not trust",
  );
  assert.equal(
    log.lines.filter((line) => /is of another authority, "Theirs"/.test(line)).length,
    1,
  );
  assert.match(
    await problemOf(await lab.client({}, { pins: [new Uint8Array(32)] })),
    /^refused: the server's certificate, hub, has a key that is not pinned, sha256\//,
  );
  await until(() => log.lines.some((line) => /shown here has a key that is not pinned/.test(line)));
});

Deno.test("in gRPC, a server with another name than asked for is refused, and sees no call", async () => {
  await using lab = await Lab.start({ transport: "grpc", server: { hosts: ["other.example"] } });
  const { endpoint } = await lab.client();
  endpoint.open();
  await until(() => endpoint.problem !== undefined);
  assert.match(endpoint.problem!, /^refused: the server's certificate is not for localhost/);
  assert.equal([...lab.hub.bind.accepted].length, 0);
});

Deno.test("in gRPC, who is not let in any more has to go, and is told so; others stay", async () => {
  await using lab = await Lab.start({ transport: "grpc" });
  const [laptop, phone] = [
    await lab.client({ name: "laptop" }),
    await lab.client({ name: "phone" }),
  ];
  for (const { endpoint } of [laptop, phone]) {
    endpoint.open();
    await until(() => endpoint.state === "open");
  }
  lab.listener.reload({ ...Lab.files(lab.folder, false), allowed: ["phone"] });
  await until(() => laptop.endpoint.problem !== undefined);
  assert.equal(
    laptop.endpoint.problem,
    "refused: the certificate that is shown there is not among those that are let in",
  );
  assert.equal(phone.endpoint.state, "open");
});
