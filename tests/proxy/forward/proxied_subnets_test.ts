import assert from "node:assert/strict";
import fc from "fast-check";
import { IpAddress, Prefix } from "../../../netstack/mod.ts";
import { type Protocols, ProxiedSubnets } from "../../../proxy/forward/proxied_subnets.ts";

/** Few addresses, so that prefixes meet. */
const address = fc.tuple(fc.nat(3), fc.nat(3)).map(([a, b]) => IpAddress.v4(10, a, b << 6, 0));
const prefix = fc.tuple(address, fc.constantFrom(0, 8, 14, 16, 17, 24, 26, 32))
  .map(([address, length]) => new Prefix(address, length));
const protocols = fc.record({ tcp: fc.boolean(), udp: fc.boolean(), icmp: fc.boolean() });
const step = fc.record({
  isAdded: fc.boolean(),
  prefixes: fc.array(prefix, { maxLength: 4 }),
  protocols,
});

Deno.test("an address has the protocols of the longest subnet that it is in, as a list of them would say", () => {
  fc.assert(fc.property(
    fc.array(step, { maxLength: 8 }),
    fc.array(address),
    fc.array(prefix),
    (steps, addresses, others) => {
      const subject = new ProxiedSubnets();
      let plain: { prefix: Prefix; protocols: Protocols }[] = [];
      for (const { isAdded, prefixes, protocols } of steps) {
        for (const prefix of prefixes) {
          plain = plain.filter((one) => !one.prefix.equals(prefix));
          if (isAdded) plain.push({ prefix, protocols });
        }
        if (isAdded) subject.add(prefixes, protocols);
        else subject.remove(prefixes);
      }
      plain.sort((a, b) => b.prefix.length - a.prefix.length);
      for (const address of addresses) {
        const found = plain.find(({ prefix }) => prefix.contains(address));
        assert.deepEqual(subject.find(address), found?.protocols);
      }
      const names = (list: readonly Prefix[]) => list.map(String).sort();
      assert.deepEqual(
        names(subject.list().map(({ prefix }) => prefix)),
        names(plain.map(({ prefix }) => prefix)),
      );
      assert.deepEqual(
        names(subject.without(others)),
        names(
          plain.map(({ prefix }) => prefix).filter((one) =>
            !others.some((other) => other.equals(one))
          ),
        ),
      );
    },
  ));
});
