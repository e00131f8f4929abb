import assert from "node:assert/strict";
import fc from "fast-check";
import { parseInterfaceAddress, parseIpAddress, parsePrefix } from "../../../proxy/address.ts";
import { freeAddress } from "../../../proxy/gateway/free_address.ts";

const free = (network: string, ...taken: string[]) =>
  freeAddress(parseInterfaceAddress(network)!, taken.map((text) => parsePrefix(text)!))?.toString();

Deno.test("the lowest address that is neither the network's, the broadcast, the gateway's nor a peer's", () => {
  assert.equal(free("10.9.0.1/24"), "10.9.0.2");
  assert.equal(free("10.9.0.7/24"), "10.9.0.1");
  assert.equal(free("10.9.0.1/24", "10.9.0.2/32", "10.9.0.4/30", "10.9.0.3/32"), "10.9.0.8");
  assert.equal(free("10.9.0.1/24", "10.9.0.0/25", "10.9.0.128/26"), "10.9.0.192");
  assert.equal(free("10.9.0.1/30", "10.9.0.2/32"), undefined);
  assert.equal(free("10.9.0.1/32"), undefined);
  assert.equal(free("10.9.0.0/31"), "10.9.0.1");
  assert.equal(free("fd09::1/64", "fd09::2/128", "10.9.0.2/32"), "fd09::3");
  assert.equal(free("fd09::5/64"), "fd09::1");
  assert.equal(free("fd09::/127"), "fd09::1");
  assert.equal(free("fd09::1/126", "fd09::2/128"), "fd09::3");
});

Deno.test("a peer that is the way to everything takes no address", () => {
  assert.equal(free("10.9.0.1/24", "0.0.0.0/0", "10.9.0.0/24"), "10.9.0.2");
});

Deno.test("as a search one by one finds it", () => {
  const host = fc.integer({ min: 0, max: 255 });
  const prefix = fc.tuple(host, fc.integer({ min: 24, max: 32 }));
  fc.assert(
    fc.property(
      host,
      fc.array(prefix, { maxLength: 40 }),
      fc.integer({ min: 25, max: 30 }),
      (own, taken, length) => {
        const network = `10.9.0.${own}/${length}`;
        const prefixes = taken.map(([host, length]) => `10.9.0.${host}/${length}`);
        const block = parsePrefix(network)!;
        const first = block.address.bytes[3]!;
        const last = first + 2 ** (32 - length) - 1;
        let expected: string | undefined;
        for (let i = first + 1; i < last && expected === undefined; i++) {
          const address = parseIpAddress(`10.9.0.${i}`)!;
          const isTaken = prefixes.map((text) => parsePrefix(text)!)
            .some((other) => other.length > length && other.contains(address));
          if (i !== own && !isTaken) expected = `${address}`;
        }
        assert.equal(free(network, ...prefixes), expected);
      },
    ),
  );
});
