/**
 * The captures of a gateway that run: a bounded number, each with what it was asked for, checked.
 *
 * @module
 */

import { Peer } from "../../wireguard/protocol.ts";
import type { Flow } from "../flow/flow.ts";
import { AmbiguousFlow, findFlow } from "../gateway/flow_stats.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { findPeer } from "../gateway/peer_name.ts";
import { Capture, type CaptureHost, type CaptureSettings } from "./capture.ts";
import { CaptureError } from "./error.ts";
import { type FilterNames, type FilterNode, parseFilter } from "./filter.ts";
import { FilterError } from "./filter_error.ts";
import { FlowIndex } from "./flow_index.ts";
import { checkPoint, type PointName, pointsOf } from "./points.ts";
import { compileFilter } from "./predicate.ts";

/** What is captured. */
export interface CaptureOptions {
  /** `nic1`, `nic2`, `link:NAME`, `outer`. Default: `nic1`; without WireGuard every link. */
  readonly at?: readonly PointName[];
  /** Default: everything. */
  readonly filter?: string;
  /** Bytes of each packet; 0, the default, for all. */
  readonly snapLength?: number;
  /** Whether the secrets of handshakes go into the file, with which `outer` can be read. */
  readonly keys?: boolean;
  /** Bytes that wait for the reader at most. Default 16 MiB. */
  readonly bufferBytes?: number;
}

/** What of a gateway captures need. */
export type CapturedGateway =
  & Pick<Gateway, "engine" | "port" | "listenAddress">
  & {
    readonly proxy: Pick<Gateway["proxy"], "nic" | "observe" | "admission">;
    /** Missing: it has. */
    readonly hasWireguard?: boolean;
  };

const MAX_CAPTURES = 8;
const BUFFER_BYTES = 16 << 20;
/** How long readers have to take the rest when the gateway ends, ms. */
const CLOSE_MS = 1_000;

const OF_GATEWAYS = new WeakMap<CapturedGateway, Captures>();

export class Captures {
  readonly #gateway: CapturedGateway;
  readonly #wallClock: () => number;
  readonly #open = new Set<Capture>();
  /** While there are captures. */
  #flows: FlowIndex | undefined;
  #isClosed = false;
  readonly #emptied: (() => void)[] = [];

  /** Those of a gateway, which are the same for everybody who asks. They end with it. */
  static of(gateway: CapturedGateway & Pick<Gateway, "closed">): Captures {
    const known = OF_GATEWAYS.get(gateway);
    if (known !== undefined) return known;
    const captures = new Captures(gateway);
    OF_GATEWAYS.set(gateway, captures);
    gateway.closed.catch(() => {}).finally(() => captures.close());
    return captures;
  }

  /** @param wallClock Milliseconds since the Unix epoch. */
  constructor(
    gateway: CapturedGateway,
    wallClock: () => number = () => performance.timeOrigin + performance.now(),
  ) {
    this.#gateway = gateway;
    this.#wallClock = wallClock;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * Begins a capture.
   *
   * @throws {CaptureError} saying which option is wrong, and how.
   */
  open(options: CaptureOptions): Capture {
    if (this.#isClosed) throw new CaptureError(undefined, "the gateway is closing");
    const { at, node } = this.check(options);
    if (this.#open.size >= MAX_CAPTURES) {
      throw new CaptureError(undefined, `${MAX_CAPTURES} captures run already, which is the most`);
    }
    const gateway = this.#gateway;
    const flows = this.#flows ??= new FlowIndex(
      gateway.proxy.admission.table,
      (name) => gateway.engine.links.some(({ link }) => link.name === name),
    );
    const host: CaptureHost = {
      engine: gateway.engine,
      proxy: gateway.proxy,
      get port() {
        return gateway.port;
      },
      get listenAddress() {
        return gateway.listenAddress;
      },
      flows,
      wallClock: this.#wallClock,
      closed: (capture) => this.#closed(capture),
    };
    const { filter, snapLength = 0, keys = false, bufferBytes = BUFFER_BYTES } = options;
    const predicate = node && compileFilter(node, {
      peerOf: (packet) => capture.peerOf(packet),
      flowOf: (packet) => flows.flowOf(packet),
    });
    const settings: CaptureSettings = {
      at,
      filter,
      predicate,
      snapLength,
      hasKeys: keys,
      bufferBytes,
    };
    const capture: Capture = new Capture(host, settings);
    this.#open.add(capture);
    this.#watchKeys();
    return capture;
  }

  /** What {@link open} would say. @throws {CaptureError} */
  check(options: CaptureOptions): { readonly at: PointName[]; readonly node?: FilterNode } {
    const { snapLength = 0, filter, keys = false } = options;
    const at = [...new Set(options.at?.length ? options.at : defaultPoints(this.#gateway))];
    const there = pointsOf(this.#gateway);
    for (const name of at) checkPoint(name, there);
    if (!Number.isInteger(snapLength) || snapLength < 0 || snapLength > 65_535) {
      throw new CaptureError("snap", `${snapLength} is out of range, expected 0 to 65535 bytes`);
    }
    if (keys && !at.includes("outer")) {
      throw new CaptureError("keys", "has no use without outer, expected --at outer beside it");
    }
    if (filter === undefined || filter.trim() === "") return { at };
    return { at, node: this.#parse(filter, at) };
  }

  /** Ends all; their readers have a second to take the rest. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const capture of this.#open) capture.stop();
    if (this.#open.size === 0) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, CLOSE_MS));
    await Promise.race([new Promise<void>((resolve) => this.#emptied.push(resolve)), late]);
    clearTimeout(timer);
    for (const capture of this.#open) capture.close();
  }

  #closed(capture: Capture): void {
    if (!this.#open.delete(capture)) return;
    this.#watchKeys();
    if (this.#open.size > 0) return;
    this.#flows?.close();
    this.#flows = undefined;
    for (const resolve of this.#emptied.splice(0)) resolve();
  }

  /** Secrets leave the device only while somebody wants them. */
  #watchKeys(): void {
    const wanting = [...this.#open].filter(({ settings }) => settings.hasKeys);
    this.#gateway.engine.device.setKeyLog(
      wanting.length === 0
        ? undefined
        : (keys) => wanting.forEach((capture) => capture.logKeys(keys)),
    );
  }

  #parse(text: string, at: readonly PointName[]): FilterNode {
    try {
      const node = parseFilter(text, this.#names());
      const named = at.includes("outer") ? subjectIn(node) : undefined;
      if (named === undefined) return node;
      throw new CaptureError(
        "filter",
        `${named} is not known of WireGuard's datagrams, expected host or port, or no outer`,
      );
    } catch (error) {
      if (!(error instanceof FilterError)) throw error;
      throw new CaptureError("filter", error.message);
    }
  }

  #names(): FilterNames {
    const { engine, proxy: { admission: { table } } } = this.#gateway;
    return {
      peer(name): Peer {
        const peer = findPeer(engine.device, name);
        if (peer !== undefined) return peer;
        throw new Error("unknown, expected a peer's name or public key");
      },
      flow(id): Flow {
        try {
          const flow = findFlow(table, id);
          if (flow !== undefined) return flow;
        } catch (error) {
          if (!(error instanceof AmbiguousFlow)) throw error;
          throw new Error("several begin with these digits, expected more of them");
        }
        throw new Error("there is none, expected one of show flows");
      },
    };
  }
}

/** The tunnel; without WireGuard every link. */
function defaultPoints({ hasWireguard = true, engine }: CapturedGateway): PointName[] {
  return hasWireguard ? ["nic1"] : engine.links.map(({ link }) => `link:${link.name}`);
}

/** The first word of a filter that asks whose a packet is. */
function subjectIn(node: FilterNode): "peer" | "flow" | undefined {
  switch (node.kind) {
    case "and":
    case "or":
      return subjectIn(node.left) ?? subjectIn(node.right);
    case "not":
      return subjectIn(node.of);
    case "peer":
    case "flow":
      return node.kind;
    default:
      return undefined;
  }
}
