/** What a redirect leaves alone, as the kernel has it: sockets without its mark, as gRPC's are. */

import assert from "node:assert/strict";
import { Nftables } from "../../../ffi/mod.ts";
import {
  exemptScript,
  redirectScript,
  redirectTable,
} from "../../../proxy/system/redirect_script.ts";
import { removeTable } from "../../../proxy/system/nft_script.ts";
import { aloneLabTest, eventually, type Host, Lab } from "../../e2e/lab.ts";
import { within } from "../../e2e/network_namespace.ts";
import { prefixes } from "./planned.ts";

const PORT = 4000;
/** Both inside of what is redirected. */
const HUB = ["100.64.0.2", "fd64::2"] as const;
const OTHER = ["100.64.0.3", "fd64::3"] as const;

function says(host: Host, port: number, word: string): void {
  const listen = `TCP6-LISTEN:${port},ipv6-v6only=0,fork,reuseaddr`;
  host.spawn(word, ["socat", listen, `SYSTEM:echo ${word}`]);
}

aloneLabTest(
  "connections to a hub's addresses are not redirected, of both families, and follow it when it has others",
  async () => {
    await using lab = await Lab.create();
    const [client, hub] = [await lab.host("client"), await lab.host("hub")];
    await lab.connect(
      { host: client, device: "eth0", addresses: ["100.64.0.1/24", "fd64::1/64"] },
      {
        host: hub,
        device: "eth0",
        addresses: [...HUB, ...OTHER].map((address) =>
          `${address}/${address.includes(":") ? 64 : 24}`
        ),
      },
    );
    says(hub, 443, "reached");
    says(client, PORT, "redirected");
    const answer = async (address: string, port = 443) => {
      const ask = `exec 3<>/dev/tcp/${address}/${port} && cat <&3`;
      return (await client.run(["timeout", "30", "bash", "-c", ask])).stdout.trim();
    };
    await eventually("the hub", async () => await answer(HUB[0]) === "reached");
    await eventually("the redirect", async () => await answer("::1", PORT) === "redirected");

    using nftables = new Nftables();
    const run = (script: string) => within(client, () => nftables.run(script));
    run(redirectScript({
      ...{ name: "grpc", cidrs: prefixes("100.64.0.0/10", "fd64::/16"), port: PORT },
      ...{ mark: 51820, captured: 51821 },
      exempt: prefixes(`${HUB[0]}/32`, `${HUB[1]}/128`),
    }));
    for (const address of HUB) assert.equal(await answer(address), "reached", address);
    for (const address of OTHER) assert.equal(await answer(address), "redirected", address);
    run(exemptScript("grpc", prefixes(`${OTHER[0]}/32`, `${OTHER[1]}/128`)));
    for (const address of HUB) assert.equal(await answer(address), "redirected", address);
    for (const address of OTHER) assert.equal(await answer(address), "reached", address);
    run(removeTable(redirectTable("grpc")));
    for (const address of HUB) assert.equal(await answer(address), "reached", address);
  },
  ["socat", "bash"],
);
