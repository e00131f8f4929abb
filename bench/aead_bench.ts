/**
 * The data path's AEAD and checksum: the WebAssembly kernels, `node:crypto` and `@noble`. Packets are
 * in the arena; "elsewhere" are those that have to be copied in and out.
 */

import { Kernels } from "../ffi/mod.ts";
import { sum } from "../netstack/checksum.ts";
import { nodeCrypto } from "../proxy/arena/crypto.ts";
import { nobleCrypto } from "../wireguard/mod.ts";

const TAG_SIZE = 16;
const kernels = new Kernels(1 << 16);
const slot = kernels.allocate(2048, 64);
const elsewhere = new Uint8Array(2048);

for (const length of [16, 64, 512, 1420]) {
  for (
    const [name, aead, buffer, offset] of [
      ["kernels", kernels.aead, kernels.bytes, slot],
      ["kernels, elsewhere", kernels.aead, elsewhere, 64],
      ["node:crypto", nodeCrypto.aead, elsewhere, 64],
      ["@noble", nobleCrypto.aead, elsewhere, 64],
    ] as const
  ) {
    const baseline = name === "node:crypto";
    const key = aead.importKey(new Uint8Array(32).fill(1));
    let counter = 0;
    const seal = () => key.seal(0, ++counter, buffer, offset, length);
    Deno.bench({ name: `seal, ${name}`, group: `seal ${length} bytes`, baseline, fn: seal });

    // What is opened in place is no ciphertext any more: each turn begins with a copy of it.
    const sealed = new Uint8Array(length + TAG_SIZE);
    key.seal(0, 0, sealed, 0, length);
    Deno.bench({
      name: `copy and open, ${name}`,
      group: `copy and open ${length} bytes`,
      baseline,
      fn: () => {
        buffer.set(sealed, offset);
        if (!key.open(0, 0, buffer, offset, sealed.length)) throw new Error("wrong tag");
      },
    });
  }
}

for (const length of [40, 1420]) {
  const group = `checksum ${length} bytes`;
  const { bytes } = kernels;
  Deno.bench("kernels", { group }, () => void kernels.sum(bytes, slot, length, 0));
  Deno.bench("kernels, elsewhere", { group }, () => void kernels.sum(elsewhere, 0, length, 0));
  Deno.bench("TypeScript", { group, baseline: true }, () => void sum(bytes, slot, length, 0));
}
