/**
 * Opens carriers in gRPC. A connection of its own for each: TCP, through an HTTP proxy or not, then TLS,
 * HTTP/2 and one call.
 *
 * @module
 */

import type { Socket } from "node:net";
import { hostAndPort, parseIpAddress, socketAddress } from "../../../address.ts";
import type { Carrier, CarrierDialer, CarrierRemote } from "../carrier.ts";
import { connectThrough, type HttpProxy } from "../http_proxy.ts";
import { secure, type TlsDialerOptions } from "../tls/mod.ts";
import { GrpcCarrier } from "./carrier.ts";
import type { Client, ClientDuplexStream, Datagrams } from "./library.ts";
import { FIRST_WINDOW } from "./frames.ts";
import { DIAL_LIMIT_MS, MAX_MESSAGE, PROTOCOL, SESSION_MEMORY_MB } from "./limits.ts";
import { loadLibrary } from "./load.ts";
import { IN_TCP, reasonOf } from "./reason.ts";
import { Through } from "./through.ts";

export class GrpcDialer implements CarrierDialer {
  readonly #options: TlsDialerOptions;
  #attempts = 0;

  constructor(options: TlsDialerOptions) {
    this.#options = options;
  }

  get url(): string {
    return this.#options.url;
  }

  get port(): number {
    return this.#options.port;
  }

  async dial(signal: AbortSignal): Promise<Carrier> {
    const { limitMs = DIAL_LIMIT_MS } = this.#options;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {}); // it may come too late for anybody to listen
    const limit = new AbortController();
    const end = (reason: string) => {
      reject(new Error(reason));
      limit.abort();
    };
    const timer = setTimeout(() => end(`no answer within ${Math.ceil(limitMs / 1000)} s`), limitMs);
    const onAbort = () => end("called off");
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    try {
      return await this.#openAny(limit.signal, promise);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /**
   * A target is of one family: the other is next where nobody answers, and first at the next attempt.
   *
   * @param failed Rejects when the attempt must end.
   */
  async #openAny(signal: AbortSignal, failed: Promise<never>): Promise<Carrier> {
    const proxy = this.#options.proxy?.();
    const targets = targetsOf(proxy ?? this.#options, this.#options.addresses);
    const first = this.#attempts++;
    for (let i = 0;; i++) {
      const target = targets[(first + i) % targets.length]!;
      try {
        return await this.#open(target, proxy, signal, failed);
      } catch (error) {
        const { message } = error as Error;
        const isInTcp = [...IN_TCP].some((words) => message.endsWith(words));
        if (signal.aborted || i + 1 === targets.length || !isInTcp) throw error;
      }
    }
  }

  async #open(
    target: string,
    proxy: HttpProxy | undefined,
    signal: AbortSignal,
    failed: Promise<never>,
  ): Promise<Carrier> {
    const { Client, CARRY, Metadata, Secured } = await loadLibrary();
    const { host, port } = this.#options;
    // What the library says of it is a guess.
    let problem: Error | undefined;
    let remote: CarrierRemote | undefined;
    let through: Through | undefined;
    const credentials = new Secured(async (socket) => {
      try {
        if (proxy !== undefined) await connectThrough(socket, proxy, host, port, { signal });
        const secured = await secure(socket, { ...this.#options, protocol: PROTOCOL }, signal);
        remote = secured.remote;
        return (through = new Through(secured, true)) as unknown as Socket;
      } catch (error) {
        problem = error as Error;
        throw error;
      }
    });
    const client = new Client(target, credentials, {
      ...LIMITS,
      "grpc.default_authority": hostAndPort(host, port),
    });
    const call = client.makeBidiStreamRequest(
      CARRY.path,
      CARRY.requestSerialize,
      CARRY.responseDeserialize,
      new Metadata(),
    );
    let ended = (_error?: Error): void => {};
    const admitted = new Promise<void>((resolve, reject) => {
      call.once("metadata", () => resolve());
      call.on("error", (error: { details?: string; message: string }) => {
        const reason = problem ?? new Error(named(reasonOf(error.details || error.message), proxy));
        reject(reason);
        ended(reason);
      });
      call.once("end", () => {
        reject(new Error("the other side has ended the call"));
        ended();
      });
    });
    try {
      await Promise.race([admitted, failed]);
    } catch (error) {
      endCall(call, client, through);
      throw error;
    }
    call.resume(); // or its end is not told
    const carrier = new GrpcCarrier(through!, remote!, () => endCall(call, client, through));
    ended = (error) => carrier.ended(error);
    return carrier;
  }
}

/** What is said of a connection in TCP is said of the proxy, where there is one. */
function named(reason: string, proxy: HttpProxy | undefined): string {
  if (proxy === undefined || !IN_TCP.has(reason)) return reason;
  return `the proxy ${hostAndPort(proxy.host, proxy.port)}: ${reason}`;
}

const LIMITS = {
  "grpc.enable_channelz": 0,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_retries": 0,
  "grpc.max_receive_message_length": MAX_MESSAGE,
  "grpc.service_config_disable_resolution": 1,
  "grpc.use_local_subchannel_pool": 1,
  // What is said of windows once there is a call is said by `receiver.ts`.
  "grpc-node.flow_control_window": FIRST_WINDOW,
  "grpc-node.max_session_memory": SESSION_MEMORY_MB,
};

/** As grpc-js wants it: https://github.com/grpc/grpc/blob/master/doc/naming.md. */
function targetsOf(
  { host, port }: { host: string; port: number },
  addresses?: TlsDialerOptions["addresses"],
): string[] {
  const literal = parseIpAddress(host);
  const known = literal === undefined ? addresses?.(host) ?? [] : [literal];
  if (known.length === 0) return [`dns:${hostAndPort(host, port)}`];
  return [...new Set(known.map(({ version }) => version))].map((version) => {
    const same = known.filter((address) => address.version === version);
    return `ipv${version}:${same.map((address) => socketAddress(address, port)).join(",")}`;
  });
}

function endCall(
  call: ClientDuplexStream<Datagrams, Datagrams>,
  client: Client,
  through: Through | undefined,
): void {
  call.cancel();
  client.close();
  through?.destroy();
}
