/**
 * The memory that an engine's packets are in, and what works on it.
 *
 * With the WebAssembly kernels both are one: the memory of the kernels is the arena into which
 * datagrams are received and in which packets are built. There they are opened, summed, sealed and
 * sent in place, and a connection's bytes are copied once: from a packet to its ring, or back.
 * Without the kernels the slots and the receive buffers are memory of their own.
 *
 * @module
 */

import { Kernels } from "../../ffi/mod.ts";
import type { MemoryRegion, Sum } from "../../netstack/mod.ts";
import type { Crypto } from "../../wireguard/mod.ts";
import { nodeCrypto } from "./crypto.ts";
import { getLogger } from "../log/logger.ts";
import { ownRegion, TransmitPool } from "./transmit_pool.ts";

const log = getLogger(["wirestack", "engine"]);

/** 64 messages of 64 KiB. Pages that no datagram has been written to cost nothing. */
const RECEIVE_BYTES = 64 << 16;
/**
 * For the rings of connections: enough for 16 that have grown to 4 MiB, the next have memory of their
 * own. Pages that nothing has been written to cost nothing.
 */
const RING_BYTES = 64 << 20;
/** For a device that the kernel exchanges packets with, a TUN. Pages never written to cost nothing. */
const DEVICE_BYTES = 2 << 20;
/** One datagram of any size. */
const STREAM_BYTES = 1 << 16;
const CACHE_LINE = 64;

export interface Arena {
  readonly crypto: Crypto;
  /** Missing: the stack's own. */
  readonly sum?: Sum;
  readonly pool: TransmitPool;
  /** For a bind that lets the kernel write datagrams. */
  readonly receiveRegion: MemoryRegion;
  /** For a datagram that came in a stream, while it is handed over. */
  readonly streamRegion: MemoryRegion;
  /** For the rings of connections. Missing: each has memory of its own. */
  readonly ringRegion?: MemoryRegion;
  /**
   * Memory for a device's packets, for good: beside the slots while there is room, so that packets are
   * summed and copied within one buffer.
   */
  deviceRegion(length: number): MemoryRegion;
}

/**
 * @param mtu Of the tunnel.
 * @param crypto Default: X25519 from `node:crypto`, and the kernels where the processor can run them.
 */
export function openArena(mtu: number, crypto?: Crypto): Arena {
  const kernels = crypto === undefined ? openKernels(mtu) : undefined;
  if (kernels === undefined) {
    return {
      crypto: crypto ?? nodeCrypto,
      pool: new TransmitPool(mtu),
      receiveRegion: ownRegion(RECEIVE_BYTES),
      streamRegion: ownRegion(STREAM_BYTES),
      deviceRegion: ownRegion,
    };
  }
  const region = (length: number): MemoryRegion => ({
    memory: kernels.bytes,
    offset: kernels.allocate(length, CACHE_LINE),
    length,
  });
  return {
    crypto: { x25519: nodeCrypto.x25519, aead: kernels.aead },
    sum: (buffer, offset, length, initial) => kernels.sum(buffer, offset, length, initial),
    pool: new TransmitPool(mtu, region(TransmitPool.bytes(mtu))),
    receiveRegion: region(RECEIVE_BYTES),
    streamRegion: region(STREAM_BYTES),
    ringRegion: region(RING_BYTES),
    deviceRegion: (length) =>
      length <= kernels.free - CACHE_LINE ? region(length) : ownRegion(length),
  };
}

function openKernels(mtu: number): Kernels | undefined {
  try {
    const bytes = TransmitPool.bytes(mtu) + RECEIVE_BYTES + STREAM_BYTES + RING_BYTES +
      DEVICE_BYTES;
    return new Kernels(bytes + 5 * CACHE_LINE);
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    log.warn("no WebAssembly SIMD on this processor, node:crypto takes its place: {error}", {
      error,
    });
    return undefined;
  }
}
