import assert from "node:assert/strict";
import { seccompFilter } from "../../../ffi/confine/filter.ts";
import { architecture } from "../../../ffi/confine/syscalls.ts";

const ALLOW = 0x7fff_0000;
const EPERM = 0x5_0001;
const ENOSYS = 0x5_0026;
const CLONE_THREAD = 0x1_0000;
const CLONE_NEWUSER = 0x1000_0000;
/** What pthread_create asks for. */
const THREAD = 0x3d_0f00;

interface Call {
  readonly arch?: number;
  readonly nr: number;
  readonly args?: readonly number[];
}

/** The kernel's interpreter of classic BPF, plainly: the instructions that filters here are made of. */
function interpret(
  filter: Uint8Array,
  { arch, nr, args = [] }: Required<Pick<Call, "arch">> & Call,
) {
  const view = new DataView(filter.buffer);
  const data = new Map([
    [0, nr],
    [4, arch],
    ...args.map((value, i) => [16 + 8 * i, value] as const),
  ]);
  let accumulator = 0;
  for (let at = 0; at < filter.length; at += 8) {
    const [code, k] = [view.getUint16(at, true), view.getUint32(at + 4, true)];
    const jump = (taken: boolean) => 8 * view.getUint8(at + (taken ? 2 : 3));
    if (code === 0x20) accumulator = (data.get(k) ?? 0) >>> 0;
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x15) at += jump(accumulator === k);
    else if (code === 0x35) at += jump(accumulator >= k);
    else if (code === 0x45) at += jump((accumulator & k) !== 0);
    else if (code === 0x06) return k;
    else assert.fail(`instruction ${code}`);
  }
  assert.fail("runs off the end");
}

/** Numbers as <asm/unistd_64.h> and <asm-generic/unistd.h> have them. */
const CALLS = {
  x86_64: {
    ...{ clone: 56, clone3: 435, socket: 41, ioctl: 16 },
    allowed: { read: 0, write: 1, openat: 257, sendmmsg: 307, recvmmsg: 299, epoll_wait: 232 },
    also: {
      futex: 202,
      mmap: 9,
      mprotect: 10,
      connect: 42,
      seccomp: 317,
      exit_group: 231,
      kill: 62,
    },
    refused: { execve: 59, ptrace: 101, mount: 165, bpf: 321, keyctl: 250, fork: 57, iopl: 172 },
  },
  aarch64: {
    ...{ clone: 220, clone3: 435, socket: 198, ioctl: 29 },
    allowed: { read: 63, write: 64, openat: 56, sendmmsg: 269, recvmmsg: 243, epoll_pwait: 22 },
    also: {
      futex: 98,
      mmap: 222,
      mprotect: 226,
      connect: 203,
      seccomp: 277,
      exit_group: 94,
      kill: 129,
    },
    refused: {
      execve: 221,
      ptrace: 117,
      mount: 40,
      bpf: 280,
      keyctl: 219,
      execveat: 281,
      setns: 268,
    },
  },
};

for (const [name, calls] of Object.entries(CALLS)) {
  const own = architecture(name)!;
  const filter = seccompFilter(own);
  const verdict = (call: Call) => interpret(filter, { arch: own.audit, ...call });

  Deno.test(`${name}: what a gateway does is allowed, what it never does fails with EPERM`, () => {
    for (const [call, nr] of Object.entries({ ...calls.allowed, ...calls.also })) {
      assert.equal(verdict({ nr }), ALLOW, call);
    }
    for (const [call, nr] of Object.entries(calls.refused)) {
      assert.equal(verdict({ nr }), EPERM, call);
    }
    for (const nr of own.refused) assert.equal(verdict({ nr }), EPERM, String(nr));
    assert.equal(new Set(own.refused).size, own.refused.length, "a number stands twice");
  });

  Deno.test(`${name}: threads can be made, processes and namespaces cannot`, () => {
    const { clone: nr, clone3 } = calls;
    assert.equal(verdict({ nr, args: [THREAD] }), ALLOW);
    assert.equal(verdict({ nr, args: [17] }), EPERM, "as fork does");
    assert.equal(verdict({ nr, args: [THREAD & ~CLONE_THREAD] }), EPERM);
    assert.equal(verdict({ nr, args: [THREAD | CLONE_NEWUSER] }), EPERM);
    assert.equal(verdict({ nr: clone3 }), ENOSYS, "the C library then takes clone");
  });

  Deno.test(`${name}: sockets are of TCP, UDP, ping, Unix, and the kernel's of addresses`, () => {
    const socket = (...args: number[]) => verdict({ nr: calls.socket, args });
    const [stream, datagram, raw, nonblock] = [1, 2, 3, 0o2004000];
    for (const family of [2, 10]) {
      assert.equal(socket(family, stream | nonblock, 0), ALLOW);
      assert.equal(socket(family, datagram, 0), ALLOW);
      assert.equal(socket(family, raw, 1), EPERM);
      assert.equal(socket(family, raw | nonblock, 1), EPERM);
    }
    assert.equal(socket(1, stream, 0), ALLOW);
    assert.equal(socket(16, raw, 0), ALLOW, "rtnetlink");
    assert.equal(socket(16, raw, 12), EPERM, "netfilter");
    for (const family of [17, 38, 40, 31]) assert.equal(socket(family, datagram, 0), EPERM);
  });

  Deno.test(`${name}: nothing can be typed into the terminal; other conventions are refused`, () => {
    const ioctl = (request: number) => verdict({ nr: calls.ioctl, args: [3, request] });
    assert.equal(ioctl(0x5401), ALLOW);
    assert.equal(ioctl(0x5412), EPERM);
    assert.equal(verdict({ arch: 0x4000_0003, nr: 11 }), EPERM, "32 bits, where 11 is execve");
    if (name === "x86_64") assert.equal(verdict({ nr: 0x4000_0000 + 1 }), EPERM, "x32");
  });
}

Deno.test("there is no table for a processor that is not known", () => {
  assert.equal(architecture("riscv64"), undefined);
  assert.equal(architecture("toString"), undefined);
});
