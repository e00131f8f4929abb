import assert from "node:assert/strict";
import { concat, Host, icmpMessage, ICMPV6, packet, uint16, uint32 } from "./packets.ts";

const SOURCE = "fd09::2";
/** Nobody has a route to it. */
const DESTINATION = "fd55::1";
const DESTINATION_OPTIONS = 60;
const FRAGMENT = 44;

/** Destination options with one that nobody knows and that asks for a report, before `next`. */
function unknownOption(next: number): Uint8Array {
  return Uint8Array.of(next, 0, 0xc2, 4, 0, 0, 0, 0);
}

function receive(destination: string, next: number, payload: Uint8Array): number[] {
  const options = { source: SOURCE, destination, protocol: DESTINATION_OPTIONS };
  const answers = new Host().receive(
    packet({ ...options, payload: concat(unknownOption(next), payload) }),
  );
  return answers.map((answer) => answer.payload[0]!);
}

Deno.test("no ICMPv6 error about what cannot be told, behind headers that are cut off", () => {
  const cut = Uint8Array.of(ICMPV6, 9, 0, 0, 0, 0, 0, 0);
  assert.deepEqual(receive(DESTINATION, DESTINATION_OPTIONS, cut), []);
});

for (const [destination, type] of [[DESTINATION, 1], ["fd09::1", 4]] as const) {
  Deno.test(`no ICMPv6 error about an error or a later fragment behind options, to ${destination}`, () => {
    const echo = icmpMessage(SOURCE, destination, 128, 0, new Uint8Array(8));
    assert.deepEqual(receive(destination, ICMPV6, echo), [type], "a ping is reported about");
    const error = icmpMessage(SOURCE, destination, 1, 0, new Uint8Array(60));
    assert.deepEqual(receive(destination, ICMPV6, error), []);
    const fragment = (at: number) =>
      concat(Uint8Array.of(17, 0), uint16(at | 1), uint32(7), new Uint8Array(16));
    assert.deepEqual(receive(destination, FRAGMENT, fragment(0)), [type]);
    assert.deepEqual(receive(destination, FRAGMENT, fragment(64)), []);
  });
}
