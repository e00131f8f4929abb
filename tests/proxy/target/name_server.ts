/** A name server on loopback that says what a test wants, over UDP and TCP. */
import { Buffer } from "node:buffer";
import packet from "npm:dns-packet@5.6.1";
import { IpAddress } from "../../../netstack/mod.ts";
import type { DnsServer } from "../../../proxy/target/dns_client.ts";
import { listenOnBoth } from "../own_port.ts";

export interface Question {
  readonly id: number;
  readonly name: string;
  readonly type: "A" | "AAAA";
}

/** Of a message; what is missing is as a well-behaved server has it. */
export interface Reply {
  readonly id?: number;
  readonly question?: string;
  readonly rcode?: number;
  readonly isTruncated?: boolean;
  readonly answers?: readonly object[];
  readonly authorities?: readonly object[];
}

/** What it says; undefined for nothing. */
export type Answer = (question: Question, isTcp: boolean) => Reply | readonly Reply[] | undefined;

export class NameServer implements AsyncDisposable, DnsServer {
  readonly address: IpAddress = IpAddress.v4(127, 0, 0, 1);
  readonly port: number;
  /** What it was asked, as `A name`. */
  readonly asked: string[] = [];
  answer: Answer;
  readonly #udp: Deno.DatagramConn;
  readonly #tcp: Deno.TcpListener;
  readonly #running: Promise<unknown>[];

  constructor(answer: Answer, hostname = "127.0.0.1", port = 0) {
    this.answer = answer;
    [this.#tcp, this.#udp] = listenOnBoth(hostname, port);
    this.port = this.#tcp.addr.port;
    this.#running = [this.#serveUdp(), this.#serveTcp()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#udp.close();
    this.#tcp.close();
    await Promise.all(this.#running);
  }

  async #serveUdp(): Promise<void> {
    for await (const [message, from] of this.#udp) {
      for (const reply of this.#repliesTo(message, false)) await this.#udp.send(reply, from);
    }
  }

  async #serveTcp(): Promise<void> {
    for await (const conn of this.#tcp) {
      using _conn = conn;
      const framed = new Uint8Array(512);
      const length = await conn.read(framed);
      if (length === null) continue;
      for (const reply of this.#repliesTo(framed.slice(2, length), true)) {
        const answer = Uint8Array.of(reply.length >> 8, reply.length, ...reply);
        // In two pieces, for a reader that takes the first for all of it.
        await conn.write(answer.subarray(0, 7));
        await conn.write(answer.subarray(7));
      }
    }
  }

  #repliesTo(message: Uint8Array, isTcp: boolean): Uint8Array[] {
    const { id, questions: [{ name, type }] } = packet.decode(Buffer.from(message));
    this.asked.push(`${type} ${name}`);
    const replies = this.answer({ id, name, type }, isTcp) ?? [];
    return [replies].flat().map((reply: Reply) => encodeReply(reply, { id, name, type }));
  }
}

export function encodeReply(reply: Reply, { id, name, type }: Question): Uint8Array {
  const { isTruncated = false, rcode = 0 } = reply;
  return packet.encode({
    type: "response",
    id: reply.id ?? id,
    flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | rcode |
      (isTruncated ? packet.TRUNCATED_RESPONSE : 0),
    questions: [{ type, name: reply.question ?? name }],
    answers: reply.answers ?? [],
    authorities: reply.authorities ?? [],
  });
}

/** A server of a zone: by name, its addresses; what is not in it does not exist. */
export function zone(
  names: Readonly<Record<string, readonly string[]>>,
  ttl = 60,
): Answer {
  return ({ name, type }) => {
    const addresses = names[name];
    if (addresses === undefined) return { rcode: 3, authorities: [soa(2)] };
    const own = addresses.filter((text) => text.includes(":") === (type === "AAAA"));
    if (own.length === 0) return { authorities: [soa(2)] };
    return { answers: own.map((data) => ({ name, type, ttl, data })) };
  };
}

/** @param minimum For how long it holds that there is nothing, seconds. */
export function soa(minimum: number, ttl = 3_600): object {
  return {
    name: "test",
    type: "SOA",
    ttl,
    data: { mname: "ns.test", rname: "root.test", serial: 1, minimum },
  };
}
