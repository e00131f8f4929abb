import assert from "node:assert/strict";
import { udpUnavailable } from "../../../ffi/mod.ts";
import { chooseUdp } from "../../../proxy/bind/udp_open.ts";
import { FfiUdpBind } from "../../../proxy/bind/udp_ffi.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { Gateway } from "../../../proxy/gateway/gateway.ts";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";

const can = () => undefined;
const cannot = () => "needs the permission --allow-ffi";

Deno.test("datagrams go in batches wherever they can, unless that is declined", () => {
  assert.deepEqual(chooseUdp(undefined, can), { ffi: true });
  assert.deepEqual(chooseUdp(true, can), { ffi: true });
  assert.deepEqual(chooseUdp(false, can), { ffi: false });
  assert.deepEqual(chooseUdp(false, cannot), { ffi: false });
});

Deno.test("without FFI Deno's sockets are used and the reason is given; with --ffi it is an error", () => {
  assert.deepEqual(chooseUdp(undefined, cannot), { ffi: false, reason: cannot() });
  assert.throws(() => chooseUdp(true, cannot), { message: cannot() });
});

Deno.test("a gateway of a program that does not say takes the fast path, where there is one", async () => {
  const privateKey = encodeKey(generatePrivateKey());
  await using gateway = await Gateway.start(loadConfig({ interface: { privateKey } }).config);
  assert.equal(gateway.udp instanceof FfiUdpBind, udpUnavailable() === undefined);
});
