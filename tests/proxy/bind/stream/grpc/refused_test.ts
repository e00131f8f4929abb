import assert from "node:assert/strict";
import { daysFromNow } from "../../certificates/made.ts";
import { Lab, until } from "../tls/lab.ts";

for (
  const [what, leaf, lab, expected] of [
    [
      "has expired",
      { notBefore: daysFromNow(-2), notAfter: daysFromNow(-1) },
      {},
      /^refused: the certificate that is shown there has expired$/,
    ],
    [
      "is for servers",
      { usage: "serverAuth" },
      {},
      /^refused: the certificate that is shown there is not one for clients$/,
    ],
    [
      "is not on the list",
      { name: "stranger" },
      { allowed: ["laptop"] },
      /^refused: the certificate that is shown there is not among those that are let in$/,
    ],
  ] as const
) {
  Deno.test(`in gRPC, whose certificate ${what} is told so`, async () => {
    await using hub = await Lab.start({ transport: "grpc", ...lab });
    const { endpoint } = await hub.client(leaf);
    endpoint.open();
    await until(() => endpoint.problem !== undefined);
    assert.match(endpoint.problem!, expected);
    assert.equal([...hub.hub.bind.accepted].length, 0);
  });
}

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
