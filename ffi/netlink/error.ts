/**
 * What the kernel says when it does not do what a netlink message asks for.
 *
 * @module
 */

import { getSystemErrorName } from "node:util";
import { decodeAttributes, Flag, HEADER_SIZE, type Message, readText, viewOf } from "./message.ts";

/** <linux/netlink.h>: attributes of an error. */
const NLMSGERR_ATTR_MSG = 1;

/** A request failed. */
export class NetlinkError extends Error {
  override readonly name = "NetlinkError";
  /** What was tried: "add the route 10.0.0.0/24". */
  readonly operation: string;
  /** `EEXIST`. */
  readonly code: string;
  readonly errno: number;
  /** The kernel's own explanation, where it has one. */
  readonly detail: string | undefined;

  constructor(operation: string, errno: number, detail?: string) {
    const code = nameOf(errno);
    const reason = detail === undefined ? code : `${detail} (${code})`;
    const hint = code === "EPERM" ? ": needs CAP_NET_ADMIN" : "";
    super(`cannot ${operation}: ${reason}${hint}`);
    this.operation = operation;
    this.code = code;
    this.errno = errno;
    this.detail = detail;
  }
}

/** What an NLMSG_ERROR says; an errno of 0 is the acknowledgement, whose detail is a warning. */
export function decodeError({ flags, body }: Message): { errno: number; detail?: string } {
  const view = viewOf(body);
  const errno = -view.getInt32(0, true);
  if ((flags & Flag.ACK_ATTRIBUTES) === 0) return { errno };
  // The request follows, whole unless the flag says that only its header does.
  const request = (flags & Flag.CAPPED) !== 0 ? HEADER_SIZE : view.getUint32(4, true);
  const detail = readText(decodeAttributes(body, 4 + request).get(NLMSGERR_ATTR_MSG));
  return detail === undefined ? { errno } : { errno, detail };
}

function nameOf(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    return `errno ${errno}`;
  }
}
