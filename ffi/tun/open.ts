/**
 * Making a TUN interface, or taking hold of one: the calls, and what their failures mean.
 *
 * @module
 */

import { Errno, type Libc as LibcOf } from "../libc.ts";

// Results of type ssize_t fit 32 bits here, and their low half is their value: no bigint for each.
export const TUN_CALLS = {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  ioctlValue: { name: "ioctl", parameters: ["i32", "u64", "u64"], result: "i32" },
  if_nametoindex: { parameters: ["buffer"], result: "u32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
} as const;

export type TunLibc = LibcOf<typeof TUN_CALLS>;

// <fcntl.h>, <linux/if.h>, <linux/if_tun.h>
const O_RDWR = 0o2;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const TUNSETIFF = 0x400454can;
const TUNSETPERSIST = 0x400454cbn;
const TUNSETOWNER = 0x400454ccn;
const TUNSETOFFLOAD = 0x400454d0n;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO6 = 0x04;
const TUN_F_TSO_ECN = 0x08;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;
const IFNAMSIZ = 16;
const IFREQ_SIZE = 40;
const DEVICE = "/dev/net/tun";

/** Why a device could not be opened. */
export type TunErrorReason =
  /** There is no /dev/net/tun, or nothing behind it. */
  | "no-driver"
  /** This user may not: CAP_NET_ADMIN, or a device of its own. */
  | "no-permission"
  /** Another program has the device, or the name is another interface's. */
  | "name-taken"
  /** The kernel does not take such a name. */
  | "bad-name"
  /** The interface was deleted. */
  | "gone"
  | "other";

export class TunError extends Error {
  override readonly name = "TunError";
  readonly reason: TunErrorReason;
  /** Of the call that failed; 0 if none has. */
  readonly errno: number;

  constructor(reason: TunErrorReason, message: string, errno = 0) {
    super(message);
    this.reason = reason;
    this.errno = errno;
  }
}

export interface TunOpenOptions {
  /** 1 to 15 bytes; the kernel puts the first free number for `%d`. Default `tun%d`. */
  readonly name?: string;
  /** Whether the interface stays when the device is closed. An existing one keeps what it is. */
  readonly persistent?: boolean;
  /** User id that may open the interface without CAP_NET_ADMIN, while it lasts. */
  readonly owner?: number;
  /** Whether segments of up to 64 KiB are exchanged with the kernel. Default true. */
  readonly offload?: boolean;
}

export interface OpenedTun {
  readonly fd: number;
  readonly name: string;
  readonly index: number;
  /** Whether the kernel cuts what it is given, and leaves cutting to us: TCP; UDP too. */
  readonly hasTso: boolean;
  readonly hasUso: boolean;
}

/** @throws {RangeError} for a name of another length. @throws {TunError} */
export function openTun(libc: TunLibc, options: TunOpenOptions): OpenedTun {
  const { name = "tun%d", offload = true } = options;
  const encoded = new TextEncoder().encode(name);
  if (encoded.length === 0 || encoded.length >= IFNAMSIZ) {
    throw new RangeError(`an interface name has 1 to ${IFNAMSIZ - 1} bytes, got "${name}"`);
  }
  if (encoded.includes(0)) throw new RangeError("an interface name has no byte 0");
  const { symbols } = libc;
  const path = new TextEncoder().encode(`${DEVICE}\0`);
  const fd = symbols.open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) throw cannotOpen(libc.errno());
  try {
    const ifreq = new Uint8Array(IFREQ_SIZE);
    ifreq.set(encoded);
    new DataView(ifreq.buffer).setInt16(IFNAMSIZ, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, true);
    if (symbols.ioctl(fd, TUNSETIFF, ifreq) < 0) {
      const errno = libc.errno();
      throw cannotMake(name, errno, symbols.if_nametoindex(ifreq.subarray(0, IFNAMSIZ)) > 0);
    }
    const given = ifreq.subarray(0, IFNAMSIZ);
    const set = (request: bigint, value: number, what: string) => {
      if (symbols.ioctlValue(fd, request, BigInt(value)) >= 0) return;
      const errno = libc.errno();
      throw new TunError("other", `the TUN interface ${what}: errno ${errno}`, errno);
    };
    if (options.owner !== undefined) set(TUNSETOWNER, options.owner, "cannot be given an owner");
    if (options.persistent !== undefined) {
      set(TUNSETPERSIST, options.persistent ? 1 : 0, "cannot be made persistent, or no longer so");
    }
    // A persistent interface has what its last user has set.
    const tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    const offloads = (flags: number) => symbols.ioctlValue(fd, TUNSETOFFLOAD, BigInt(flags)) >= 0;
    const hasUso = offload && offloads(tso | TUN_F_USO4 | TUN_F_USO6); // Linux 6.2
    const hasTso = hasUso || offload && offloads(tso);
    if (!hasTso) offloads(0);
    return {
      fd,
      name: new TextDecoder().decode(given.subarray(0, given.indexOf(0))),
      index: symbols.if_nametoindex(given),
      hasTso,
      hasUso,
    };
  } catch (error) {
    symbols.close(fd);
    throw error;
  }
}

function cannotOpen(errno: number): TunError {
  switch (errno) {
    case Errno.ENOENT:
    case Errno.ENODEV:
    case Errno.ENXIO:
      return new TunError(
        "no-driver",
        `there is no ${DEVICE}: the kernel's module "tun" is not loaded, or the container does not show it`,
        errno,
      );
    case Errno.EACCES:
    case Errno.EPERM:
      return new TunError("no-permission", `this user may not open ${DEVICE}`, errno);
    default:
      return new TunError("other", `${DEVICE} cannot be opened: errno ${errno}`, errno);
  }
}

/** @param exists Whether there is an interface of that name. */
function cannotMake(name: string, errno: number, exists: boolean): TunError {
  const what = `the TUN interface "${name}" cannot be ${exists ? "opened" : "made"}`;
  switch (errno) {
    case Errno.EPERM:
    case Errno.EACCES:
      return new TunError(
        "no-permission",
        exists
          ? `${what}: that needs CAP_NET_ADMIN, or to be its owner`
          : `${what}: that needs CAP_NET_ADMIN`,
        errno,
      );
    case Errno.EBUSY:
      return new TunError("name-taken", `${what}: another program has it open`, errno);
    case Errno.EINVAL:
      if (exists) {
        return new TunError("name-taken", `${what}: there is another interface "${name}"`, errno);
      }
      return new TunError("bad-name", `${what}: the kernel does not take such a name`, errno);
    default:
      return new TunError("other", `${what}: errno ${errno}`, errno);
  }
}
