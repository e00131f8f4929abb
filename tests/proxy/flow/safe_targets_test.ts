import assert from "node:assert/strict";
import fc from "fast-check";
import { IpAddress } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { isSafeTarget } from "../../../proxy/flow/safe_targets.ts";

const ip = (text: string) => parseIpAddress(text)!;

const DANGEROUS_IPV4 = [
  ...["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "169.254.0.1", "169.254.169.254"],
  ...["224.0.0.1", "239.255.255.255", "255.255.255.255", "100.100.100.200", "168.63.129.16"],
];
const hex = (v4: string) => Uint8Array.from(v4.split("."), Number).toHex();
const words = (digits: string) => digits.match(/.{4}/g)!.join(":");

Deno.test("loopback, link-local, multicast, broadcast, unspecified and metadata are refused", () => {
  const ipv6 = ["::", "::1", "fe80::1", "febf::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254"];
  for (const text of [...DANGEROUS_IPV4, ...ipv6]) {
    assert.equal(isSafeTarget(ip(text)), false, text);
  }
});

Deno.test("ordinary targets, private ones included, are not refused", () => {
  const ordinary = [
    ...["10.0.0.1", "192.168.1.1", "172.16.0.1", "8.8.8.8", "126.255.255.255", "128.0.0.1"],
    ...["169.253.255.255", "169.255.0.0", "223.255.255.255", "100.64.0.1", "1.0.0.1"],
    ...["fd00::1", "2606:4700::1111", "fec0::1", "2001:db8::1", "64:ff9b::808:808"],
    ...["64:ff9b:1::808:808", "2002:808:808::1", "2001:4860:4860::8888", "2001:db8::5efe:808:808"],
  ];
  for (const text of ordinary) assert.equal(isSafeTarget(ip(text)), true, text);
});

Deno.test("an IPv6 address that carries a refused IPv4 address is refused in every form", () => {
  for (const v4 of DANGEROUS_IPV4) {
    const w = words(hex(v4));
    const inverted = words(Uint8Array.from(v4.split("."), (part) => ~Number(part)).toHex());
    const [a, b, c, d] = v4.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
    const forms = [
      ...[`::${w}`, `::ffff:${w}`, `::ffff:0:${w}`, `64:ff9b::${w}`, `2002:${w}::1`],
      ...[`2001:0:808:808:0:0:${inverted}`, `2001:0:${w}:0:0:f7f7:f7f7`, `2001:db8::5efe:${w}`],
      ...[`2001:db8::200:5efe:${w}`, `64:ff9b:1::${w}`],
    ];
    // The /48 and /56 layouts of RFC 6052; an address that starts with zeros cannot be told there.
    if (a !== "00") {
      forms.push(`64:ff9b:1:${a}${b}:00${c}:${d}00::`, `64:ff9b:1:ff${a}:00${b}:${c}${d}::`);
    }
    for (const text of forms) assert.equal(isSafeTarget(ip(text)), false, text);
  }
});

Deno.test("every IPv4-mapped and IPv4-compatible address is refused: it would pass IPv4's prefixes by", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (v4) => {
    const bytes = new Uint8Array(16);
    bytes.set(v4, 12);
    assert.equal(isSafeTarget(new IpAddress(bytes.slice())), false);
    bytes.fill(0xff, 10, 12);
    assert.equal(isSafeTarget(new IpAddress(bytes)), false);
  }));
});
