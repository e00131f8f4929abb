/**
 * Where flows go that need more than a socket to an address: by a name, with a header in front, over a
 * connection that is ready.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { Admission } from "../flow/admit.ts";
import type { Flow, FlowRequest } from "../flow/flow.ts";
import type { ByteStream, Dial, Dialer, DialHandler } from "../flow/stream.ts";
import { REFUSAL_WORDS } from "../flow/words.ts";
import { getLogger } from "../log/logger.ts";
import { dialNamed } from "../target/named_dial.ts";
import { type After, Names, type NameSource } from "../target/names.ts";
import { encodeProxyHeader } from "../target/proxy_protocol.ts";

const log = getLogger(["wirestack", "target"]);

/** Makes the connections of flows. */
export interface FlowDialer {
  /** @throws whatever the runtime throws when it has no permission to. */
  dialFlow(flow: Flow, handler: DialHandler): Dial;
}

export interface NamedTargetsOptions {
  readonly admission: Admission;
  readonly dialer: Dialer;
  readonly source: NameSource;
  /** Milliseconds, monotonic. */
  now(): number;
  readonly after: After;
}

/** Names of which the log says that they lead to what is refused; then no more are told apart. */
const MAX_TOLD = 1_024;

export class NamedTargets implements FlowDialer {
  readonly names: Names;
  /** Addresses of names that were refused, for what is loopback, this host's own or the like. */
  refusedAddresses = 0;
  readonly #options: NamedTargetsOptions;
  /** Names of which the log has said so. */
  readonly #told = new Set<string>();

  constructor(options: NamedTargetsOptions) {
    this.#options = options;
    this.names = new Names(options);
  }

  dialFlow(flow: Flow, handler: DialHandler): Dial {
    const { rule, dialled, dialledName, dialledPort } = flow;
    const { dialer, after } = this.#options;
    if (dialledName === undefined && rule?.sendProxyProtocol === undefined) {
      return dialer.dial(dialled!, dialledPort, handler);
    }
    return dialNamed({ dialer, names: this.names, after }, {
      to: dialledName ?? dialled!,
      port: dialledPort,
      isAllowed: (address) => this.isAllowed(flow, dialledName!, address, dialledPort),
      connected: (stream, address) => connected(flow, handler, stream, address),
      failed: (why) => handler.dialFailed(why),
    });
  }

  /**
   * Finds an address for a UDP flow to a name: of the client's own family, if the name has one.
   *
   * @param found Called once, also from within the call; with nothing if there is none.
   */
  resolve(flow: Flow, found: (address: IpAddress | undefined) => void): void {
    const { dialledName, dialledPort, destination } = flow;
    let isFound = false;
    this.names.resolve(dialledName!, {
      found: (addresses, isLast) => {
        const allowed = addresses.filter((address) =>
          this.isAllowed(flow, dialledName!, address, dialledPort)
        );
        if (allowed.length === 0 && !isLast || isFound) return;
        isFound = true;
        found(allowed.find(({ version }) => version === destination.version) ?? allowed[0]);
      },
    });
  }

  /** Whether an address that a name leads to may be dialled. */
  isAllowed(request: FlowRequest, name: string, address: IpAddress, port: number): boolean {
    const refusal = this.#options.admission.checkTarget(request, address, port);
    if (refusal === undefined) return true;
    this.refusedAddresses++;
    if (!this.#told.has(name) && this.#told.size < MAX_TOLD) {
      this.#told.add(name);
      log.warn("{name} leads to {address}, which is refused: {why}", {
        name,
        address,
        why: REFUSAL_WORDS[refusal],
      });
    }
    return false;
  }

  close(): void {
    this.names.close();
  }
}

function connected(flow: Flow, handler: DialHandler, stream: ByteStream, address: IpAddress): void {
  flow.dialled = address;
  const version = flow.rule?.sendProxyProtocol;
  // The ends as the client has them: what was asked for, not what was dialled.
  if (version !== undefined) stream.preface(encodeProxyHeader(version, "tcp", flow));
  handler.connected(stream);
}
