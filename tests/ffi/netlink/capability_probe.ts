/**
 * Becomes an ordinary user with CAP_NET_ADMIN on this thread alone, as a tunnel does that has been set
 * up, and changes the network: prints what each thread may, and how it went.
 *
 * @module
 */

import { Nftables } from "../../../ffi/mod.ts";
import { Netlink } from "../../../ffi/netlink/mod.ts";

const { symbols } = Deno.dlopen("libc.so.6", {
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  setgroups: { parameters: ["usize", "pointer"], result: "i32" },
  setresgid: { parameters: ["u32", "u32", "u32"], result: "i32" },
  setresuid: { parameters: ["u32", "u32", "u32"], result: "i32" },
  capset: { parameters: ["buffer", "buffer"], result: "i32" },
});
const USER = 12345;
// <linux/prctl.h>, <linux/capability.h>
const PR_SET_KEEPCAPS = 8;
const VERSION_3 = 0x20080522;
const NET_ADMIN = 1 << 12;

// Read while it still may.
using nftables = new Nftables();
const results = [
  symbols.prctl(PR_SET_KEEPCAPS, 1n, 0n, 0n, 0n),
  symbols.setgroups(0n, null),
  symbols.setresgid(USER, USER, USER),
  symbols.setresuid(USER, USER, USER),
  symbols.capset(
    Uint32Array.of(VERSION_3, 0),
    Uint32Array.of(NET_ADMIN, NET_ADMIN, 0, 0, 0, 0),
  ),
];
if (results.some((result) => result !== 0)) throw new Error(`${results}`);

const threads = [...Deno.readDirSync("/proc/self/task")].map(({ name }) =>
  /^CapEff:\s*(\S+)$/m.exec(Deno.readTextFileSync(`/proc/self/task/${name}/status`))![1]!
);
using netlink = new Netlink();
netlink.setLink(1, { up: true });
netlink.addAddress(1, "10.9.0.1/32");
netlink.addRule({ family: 4, mark: 7, table: 7, priority: 7 });
nftables.run("add table inet wirestack-test");
console.log(JSON.stringify({ uid: Deno.uid(), threads }));
