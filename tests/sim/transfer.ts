/**
 * Bulk transfers between two of our stacks over one simulated link: what `deno task sim` runs.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import {
  IpAddress,
  Prefix,
  Stack,
  type TcpEndpoint,
  type TcpSettings,
} from "../../netstack/mod.ts";
import { Random, Sim, type SimPort, type Tap } from "./network.ts";
import { Witness } from "./witness.ts";

export interface TransferOptions {
  /** Of every flow; Infinity needs {@link durationMs}. */
  bytes: number;
  rttMs: number;
  /** Probabilities, for each packet in either direction. */
  loss: number;
  reorder: number;
  duplicate: number;
  corrupt: number;
  /** Bits per second, either direction; Infinity = unlimited. */
  rate: number;
  /** Packets that wait for the rate, either direction. */
  queue: number;
  /** Size of every send and receive buffer; undefined = the stack's defaults. */
  buffer: number | undefined;
  flows: number;
  congestion: "none" | "newreno" | "cubic";
  seed: number;
  mtu: number;
  /** The transfers stop then, ms after the first SYN; Infinity = when every byte is there. */
  durationMs: number;
  /** Every flow starts at a random time within as many ms. */
  startSpreadMs: number;
  /** The first packet that the senders' side sends so late is lost, ms after the first SYN. */
  loseAtMs: number;
  /** Sees every packet that is sent. */
  tap?: Tap;
}

export const DEFAULTS: Readonly<TransferOptions> = {
  bytes: 10 * 2 ** 20,
  rttMs: 100,
  loss: 0,
  reorder: 0,
  duplicate: 0,
  corrupt: 0,
  rate: Infinity,
  queue: Infinity,
  buffer: undefined,
  flows: 1,
  congestion: "cubic",
  seed: 1,
  mtu: 1500,
  durationMs: Infinity,
  startSpreadMs: 0,
  loseAtMs: Infinity,
};

export interface TransferResult {
  /** Of the flows together, from the first SYN to the last byte delivered. */
  bytesPerSecond: number;
  seconds: number;
  /** Delivered to the applications. */
  bytes: number;
  /** Segments sent again. */
  retransmits: number;
  /** Expirations of the retransmission timer. */
  timeouts: number;
  /** Segments sent again though every byte of them had been sent in packets that arrive. */
  spurious: number;
  /** Repairs that the senders themselves found out to be needless. */
  undone: number;
  /** Fairness (Jain et al. 1984) of the rates of the flows, each from its SYN to its last byte. */
  jain: number;
  /** Flows that ended with an error. */
  failed: number;
  /** Packets from the senders' side, and which of them found the queue full. */
  packets: number;
  overflowed: number;
  /** Mean over time and flows of the retransmission timeout without backoff, ms. */
  meanRtoMs: number;
}

const CLIENT = IpAddress.v4(10, 0, 0, 1);
const SERVER = IpAddress.v4(10, 0, 0, 2);
const PORT = 5001;
/** A packet falls back by one to so many places. */
const REORDER_BY = 10;
/** Lossy links are measured by how fast they carry, not by when somebody gives up. */
const PATIENCE = 100;
/** Virtual time after which a run is called off, ms. */
const LONGEST = 1e9;

const CHUNK = 65_536;
/** What every byte is, by its position. The period is prime, so no shift by a segment looks right. */
const PERIOD = 65_521;
const PATTERN = Buffer.alloc(PERIOD + CHUNK, new Random(0).bytes(PERIOD));
const SCRATCH = Buffer.alloc(CHUNK);

/**
 * Runs `flows` transfers from one host to the other. The same options give the same result.
 *
 * @throws {Error} if a byte arrives other than it was sent.
 */
export function transfer(options: TransferOptions): TransferResult {
  const { bytes, rttMs, loss, reorder, duplicate, corrupt, rate, queue, mtu, flows } = options;
  const sim = new Sim(options.seed);
  const link = sim.link({
    mtu,
    impairments: {
      delay: rttMs / 2,
      loss,
      reorder,
      reorderBy: REORDER_BY,
      duplicate,
      corrupt,
      rate,
      queue,
    },
  });
  link.tap = options.tap;
  const witness = new Witness(link.a);
  const [client, server] = [link.a, link.b].map((port, i) => {
    const random = new Random(options.seed + i + 1);
    const stack = new Stack({
      random: (out) => random.fill(out),
      tcp: settings(options),
    });
    const address = i === 0 ? CLIENT : SERVER;
    const nic = stack.addNic({
      name: "sim",
      mtu,
      link: port,
      addresses: [{ address, length: 24 }],
    });
    stack.routes.insert(new Prefix(address, 24), nic);
    port.receive = (buffer, offset, length, now) =>
      stack.handlePacket(nic, buffer, offset, length, now);
    sim.addHost(stack);
    return stack;
  }) as [Stack, Stack];

  const all: Flow[] = [];
  let open = flows;
  const ended = () => open--;
  server.tcp.listen({ port: PORT }, {
    accepted: (endpoint) => {
      const flow = all.find((flow) => flow.client.localPort === endpoint.remotePort);
      if (flow === undefined) endpoint.abort();
      else flow.accepted(endpoint);
    },
  });
  const starts = new Random(~options.seed);
  const first = sim.now;
  for (let i = 0; i < flows; i++) {
    const at = first + (i === 0 ? 0 : starts.next() * options.startSpreadMs);
    sim.at(at, (now) => {
      const endpoint = client.tcp.connect({ remote: SERVER, remotePort: PORT }, now);
      all.push(new Flow(sim, endpoint, bytes, ended));
    });
  }
  if (options.loseAtMs < Infinity) sim.at(first + options.loseAtMs, () => loseNext(link.a));
  const rto = new RtoMeter(sim, all, options);
  sim.runUntil(() => open === 0, Math.min(options.durationMs, LONGEST));

  const end = options.durationMs === Infinity
    ? Math.max(first, ...all.map((flow) => flow.lastByteAt))
    : sim.now;
  const delivered = all.reduce((sum, flow) => sum + flow.received, 0);
  const seconds = (end - first) / 1000;
  const sum = (of: (flow: Flow) => number) => all.reduce((total, flow) => total + of(flow), 0);
  return {
    bytesPerSecond: delivered / seconds,
    seconds,
    bytes: delivered,
    retransmits: sum((flow) => flow.client.info().retransmits),
    timeouts: sum((flow) => flow.client.info().timeouts),
    spurious: witness.spurious,
    undone: sum((flow) => flow.client.info().spurious),
    jain: jain(all.map((flow) => flow.received / flow.time(end))),
    failed: sum((flow) => flow.failed ? 1 : 0),
    packets: link.a.counters.sent,
    overflowed: link.a.counters.overflowed,
    meanRtoMs: rto.mean,
  };
}

/** (Σx)² / (n · Σx²): 1 if all are equal, 1/n if one has everything. */
export function jain(rates: readonly number[]): number {
  const sum = rates.reduce((total, rate) => total + rate, 0);
  const squares = rates.reduce((total, rate) => total + rate * rate, 0);
  return squares === 0 ? 1 : sum * sum / (rates.length * squares);
}

function settings(options: TransferOptions): Partial<TcpSettings> {
  const { buffer, flows } = options;
  return {
    congestion: options.congestion,
    maxRetries: PATIENCE,
    synRetries: PATIENCE,
    backlog: Math.max(128, flows),
    maxHalfOpen: Math.max(4_096, flows),
    ...buffer === undefined
      ? {}
      : { sendBuffer: buffer, receiveBuffer: buffer, initialBuffer: buffer },
  };
}

function loseNext(port: SimPort): void {
  const { impairments, transmit } = port;
  port.transmit = (...packet) => {
    port.impairments = { ...impairments, loss: 1 };
    port.transmit = transmit;
    transmit(...packet);
    port.impairments = impairments;
  };
}

/** One connection: the client writes the pattern, the server reads and compares. */
class Flow {
  readonly client: TcpEndpoint;
  readonly startedAt: number;
  lastByteAt: number;
  received = 0;
  failed = false;
  #sent = 0;
  #over = false;
  readonly #sim: Sim;
  readonly #bytes: number;
  readonly #ended: () => void;

  constructor(sim: Sim, client: TcpEndpoint, bytes: number, ended: () => void) {
    this.#sim = sim;
    this.client = client;
    this.startedAt = this.lastByteAt = sim.now;
    this.#bytes = bytes;
    this.#ended = ended;
    client.setNoDelay(true);
    client.handler = {
      connected: () => this.#send(),
      writable: () => this.#send(),
      closed: (error) => this.#end(error !== undefined),
    };
  }

  accepted(server: TcpEndpoint): void {
    server.handler = {
      readable: () => this.#receive(server),
      closed: (error) => this.#end(error !== undefined),
    };
  }

  /** From its SYN to its last byte, or to `end` if that is missing; ms, above 0. */
  time(end: number): number {
    const last = this.received >= this.#bytes ? this.lastByteAt : end;
    return Math.max(Number.EPSILON, last - this.startedAt);
  }

  #send(): void {
    while (this.#sent < this.#bytes) {
      const length = Math.min(CHUNK, this.#bytes - this.#sent);
      const taken = this.client.write(PATTERN, this.#sent % PERIOD, length);
      this.#sent += taken;
      if (taken < length) return;
    }
    this.client.shutdownWrite();
  }

  #receive(server: TcpEndpoint): void {
    for (;;) {
      const length = server.read(SCRATCH, 0, CHUNK);
      if (length === 0) break;
      const from = this.received % PERIOD;
      if (!SCRATCH.subarray(0, length).equals(PATTERN.subarray(from, from + length))) {
        throw new Error(`wrong bytes between ${this.received} and ${this.received + length}`);
      }
      this.received += length;
      this.lastByteAt = this.#sim.now;
    }
    if (this.received >= this.#bytes) this.#end(false);
    if (server.endOfFile) server.shutdownWrite();
  }

  #end(failed: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.failed = failed;
    this.#ended();
  }
}

/** Looks at the senders' estimates once per round trip. */
class RtoMeter {
  #sum = 0;
  #samples = 0;

  constructor(sim: Sim, flows: readonly Flow[], { rttMs }: TransferOptions) {
    const interval = Math.max(10, rttMs);
    const look = () => {
      for (const { client } of flows) {
        const { rttMs, rttVariationMs } = client.info();
        if (rttMs === 0) continue;
        // RFC 6298 §2.3, with the 200 ms that our stack never goes below.
        this.#sum += Math.max(200, rttMs + 4 * rttVariationMs);
        this.#samples++;
      }
      sim.after(interval, look);
    };
    sim.after(interval, look);
  }

  get mean(): number {
    return this.#samples === 0 ? NaN : this.#sum / this.#samples;
  }
}
