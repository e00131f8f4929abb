/**
 * A capture for a program: packet by packet, or as a stream of pcapng.
 *
 * @module
 */

import type { Direction } from "../link/tap.ts";
import { type Block, BlockSplitter } from "./blocks.ts";
import type { Capture } from "./capture.ts";
import { ENHANCED_PACKET, packetIn } from "./pcapng.ts";
import type { PointName } from "./points.ts";

/** A packet that was captured. */
export interface CapturedData {
  /** Where: `nic1`, `nic2`, `link:NAME`, `outer`. */
  readonly at: PointName;
  /** Whether it came in there, or went out. */
  readonly direction: Direction;
  /** Milliseconds since the Unix epoch, with a fraction. */
  readonly time: number;
  /** From the IP header on, as much as was asked for. */
  readonly data: Uint8Array<ArrayBuffer>;
  /** Bytes of the whole packet. */
  readonly length: number;
  /** Whose it is, a peer's or a link's; undefined where nobody knows. */
  readonly peer: string | undefined;
  /** The first digits of the flow's id. Missing where there is none. */
  readonly flow: string | undefined;
  /** Packets lost before it, because they were not taken as fast as they came. */
  readonly lost: number;
}

/**
 * A capture that runs from the moment it is made. It is taken once: as packets, by `for await`, or as
 * pcapng. It ends with the gateway, with {@link stop}, or when the loop is left.
 */
export class PacketCapture implements AsyncIterable<CapturedData>, Disposable {
  readonly #capture: Capture;
  readonly #disown: () => void;

  /** @param signal Ends it. */
  constructor(capture: Capture, signal?: AbortSignal) {
    this.#capture = capture;
    const stop = () => capture.stop();
    signal?.addEventListener("abort", stop, { once: true });
    this.#disown = () => signal?.removeEventListener("abort", stop);
    if (signal?.aborted) stop();
  }

  /** Packets so far: that came by, that the filter picked, and of these those that were lost. */
  get counts(): { readonly seen: number; readonly accepted: number; readonly dropped: number } {
    return this.#capture.counts;
  }

  /** Adds no packet any more; what there is can still be taken. */
  stop(): void {
    this.#capture.stop();
  }

  /** Ends it at once. */
  close(): void {
    this.#disown();
    this.#capture.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The same as a pcapng file, for a file, a response, or another program. */
  get pcapng(): ReadableStream<Uint8Array<ArrayBuffer>> {
    const capture = this.#capture;
    return new ReadableStream({
      pull: async (controller) => {
        const piece = await capture.read();
        if (piece !== undefined) controller.enqueue(piece.slice());
        else {
          this.close();
          controller.close();
        }
      },
      cancel: () => this.close(),
    }, { highWaterMark: 0 }); // what waits is in the capture's own buffer, and counted there
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<CapturedData, void, undefined> {
    const splitter = new BlockSplitter();
    const { at } = this.#capture.settings;
    try {
      for (let piece; (piece = await this.#capture.read()) !== undefined;) {
        const packets: CapturedData[] = [];
        splitter.push(piece, (piece, blocks) => {
          for (const block of blocks) {
            if (block.type === ENHANCED_PACKET) packets.push(dataOf(piece, block, at));
          }
        });
        yield* packets;
      }
    } finally {
      this.close();
    }
  }
}

function dataOf(piece: Uint8Array, { start, end }: Block, at: readonly PointName[]): CapturedData {
  const { interfaceId, time, isInbound, data, original, drops, comment } = packetIn(
    piece.subarray(start, end),
  );
  const [, peer, flow] = /^(?:peer|link) (.*), flow ([0-9a-f]{8})$/s.exec(comment) ??
    /^(?:peer|link) (.*)$/s.exec(comment) ?? [];
  return {
    at: at[interfaceId]!,
    direction: isInbound ? "in" : "out",
    time,
    data,
    length: original,
    peer,
    flow,
    lost: drops,
  };
}
