import assert from "node:assert/strict";
import { loadConfig } from "../../../proxy/config/config.ts";
import { changesBetween } from "../../../proxy/gateway/changes.ts";

const KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

function changes(before: string, after: string): string[] {
  const [a, b] = [before, after].map((rules) =>
    loadConfig(`[Interface]\nPrivateKey = ${KEY}\n[Proxy]\nSubnets = 10.50.0.0/16\n${rules}`).source
  );
  return changesBetween(a!, b!);
}

Deno.test("a reload says how many rules came and went, and that they changed places", () => {
  const [one, other] = ["[Rule]\nTo = 10.50.0.1\n", "[Rule]\nTo = 10.50.0.2\n"];
  assert.deepEqual(changes(one + other, one + other), []);
  assert.deepEqual(changes(one, one + other + one), ["rules: 2 added"]);
  assert.deepEqual(changes(one + one + other, one), ["rules: 2 removed"]);
  assert.deepEqual(changes(one, other), ["rules: 1 added, 1 removed"]);
  assert.deepEqual(changes(one + other, other + one), ["rules: in another order"]);
  assert.deepEqual(changes("", "Default = drop\n"), ["Default: default -> drop"]);
});

Deno.test("a list that means all when it is missing is told as a whole then", () => {
  assert.deepEqual(changes("Protocols = tcp, udp\n", ""), ["Protocols: tcp, udp -> default"]);
  assert.deepEqual(changes("", "[Log]\nAccessProtocols = icmp\n"), [
    "AccessProtocols: default -> icmp",
  ]);
  assert.deepEqual(changes("Protocols = tcp, udp\n", "Protocols = udp, icmp\n"), [
    "Protocols: icmp added, tcp removed",
  ]);
});

Deno.test("of a long list some values are named, each once, and the rest are counted", () => {
  const networks = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => `10.51.${from + i}.0/24`);
  const list = (values: readonly string[]) =>
    values.map((value) => `Subnets = ${value}\n`).join("");
  const [line] = changes("", list([...networks(0, 100), ...networks(0, 100)]));
  assert.equal(
    line,
    `Subnets: ${networks(0, 20).map((value) => `${value} added`).join(", ")}, 80 more added`,
  );
  assert.deepEqual(changes(list(networks(0, 100)), list(networks(1, 101))), [
    "Subnets: 10.51.100.0/24 added, 10.51.0.0/24 removed",
  ]);
});

Deno.test("what a reload changes of [Relay] is named", () => {
  const relay = "[Relay]\nListen = tls:127.0.0.1:0\nCert = a.pem\nKey = b.pem\nClientCa = c.pem\n";
  assert.deepEqual(changes(relay, relay), []);
  assert.deepEqual(
    changes(relay, `${relay}ClientCaKey = d.pem\nAllowedClients = paris, rome\n`),
    ["ClientCaKey: default -> d.pem", "AllowedClients: paris added, rome added"],
  );
});
