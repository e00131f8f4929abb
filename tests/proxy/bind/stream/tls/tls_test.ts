import assert from "node:assert/strict";
import { Lab, until } from "./lab.ts";

Deno.test("datagrams go both ways, and each side knows who the other is", async () => {
  await using lab = await Lab.start();
  const { side, endpoint } = await lab.client({ name: "laptop" });
  endpoint.open();
  await until(() => endpoint.state === "open");
  side.send(endpoint, new Uint8Array(148).fill(1));
  const { bytes, from } = await lab.hub.next();
  assert.deepEqual(bytes, new Uint8Array(148).fill(1));
  assert.match(`${from}`, /^tls:127\.0\.0\.1:\d+$/);
  lab.hub.send(from, new Uint8Array(92).fill(2));
  assert.deepEqual((await side.next()).bytes, new Uint8Array(92).fill(2));
  assert.equal(endpoint.state, "open");
  assert.equal(endpoint.remote!.description, "hub");
  assert.deepEqual(endpoint.address, Uint8Array.of(127, 0, 0, 1));
  const [accepted] = lab.hub.bind.accepted();
  assert.equal(accepted!.remote!.description, "laptop");
});

Deno.test("a hub that went and came back is found again, by whoever wants it", async () => {
  await using lab = await Lab.start();
  const { endpoint } = await lab.client();
  endpoint.open();
  await until(() => endpoint.state === "open");
  const [accepted] = lab.hub.bind.accepted();
  accepted!.close(1);
  await until(() => endpoint.state === "waiting");
  assert.equal(endpoint.problem, "the other side has closed it");
  await until(() => endpoint.state === "open");
});

Deno.test("what arrives is what was sent, thousands of datagrams both ways", async () => {
  await using lab = await Lab.start({ bind: { limits: { bytes: 1 << 24, ageMs: 60_000 } } });
  const { side, endpoint } = await lab.client();
  endpoint.open();
  await until(() => endpoint.state === "open");
  const [accepted] = lab.hub.bind.accepted();
  const pattern = (i: number) => new Uint8Array(32 + i % 1_400).fill(i);
  for (let i = 0; i < 5_000; i++) lab.hub.send(accepted!, pattern(i));
  await until(() => side.heard.length === 5_000);
  side.heard.forEach(({ bytes }, i) => assert.deepEqual(bytes, pattern(i)));
});
