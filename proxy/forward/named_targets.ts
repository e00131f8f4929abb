/**
 * Dials for flows that need more than a socket to an address: a name to resolve, a PROXY header to send
 * first, or a connection that is kept ready.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { Admission } from "../flow/admit.ts";
import type { Flow, FlowRequest } from "../flow/flow.ts";
import { dialledAs } from "../flow/maps.ts";
import type { Rule, RuleState } from "../flow/rule.ts";
import type { RuleSet } from "../flow/rules.ts";
import type { ByteStream, Dial, Dialer, DialHandler } from "../flow/stream.ts";
import { REFUSAL_WORDS } from "../flow/words.ts";
import { getLogger } from "../log/logger.ts";
import { dialNamed, type DialTools } from "../target/named_dial.ts";
import { NameWatch } from "../target/name_watch.ts";
import { type After, Names, type NameSource } from "../target/names.ts";
import { encodeProxyHeader } from "../target/proxy_protocol.ts";
import { WarmPool } from "../target/warm.ts";
import type { WarmConnection } from "../target/warm_connection.ts";
import type { WarmTarget } from "../target/warm_target.ts";

const log = getLogger(["wirestack", "target"]);

/** Why a name leads a flow nowhere: it has no address, or none that may be dialled. */
export type NoTarget = "host-unreachable" | "prohibited";

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
  /** Whether there is room on this host for so many more connections that no flow needs yet. */
  hasRoom?(more: number): boolean;
  /**
   * Calls back when everything that has arrived by now has been handed on. Default: a timer of 0 ms.
   */
  readonly turn?: (run: () => void) => void;
}

/** Names that are logged as leading to a refused address; beyond that no more are. */
const MAX_TOLD = 1_024;

export class NamedTargets implements FlowDialer {
  readonly names: Names;
  readonly warm: WarmPool;
  /** Addresses of names that were refused, for what is loopback, this host's own or the like. */
  refusedAddresses = 0;
  readonly #options: NamedTargetsOptions;
  /** Names that were logged so. */
  readonly #told = new Set<string>();
  readonly #tools: DialTools;
  readonly #watch: NameWatch;
  #rules: readonly Rule[] = [];
  /** Where the last flow of a rule went, for rules that name no target themselves. */
  #learnt = new Map<RuleState, WarmTarget>();

  constructor(options: NamedTargetsOptions) {
    this.#options = options;
    const { dialer, after, now, admission, hasRoom } = options;
    this.names = new Names(options);
    this.#tools = { dialer: thatNeverThrows(dialer), after, names: this.names };
    this.#watch = new NameWatch({
      names: this.names,
      now,
      after,
      // Flows that run stay: see RuleSet.match.
      changed: (name, addresses) =>
        admission.rules.setAddresses(
          name,
          addresses.filter((address) => this.isAllowed({ protocol: "tcp" }, name, address, 0)),
        ),
    });
    this.warm = new WarmPool({
      ...this.#tools,
      now,
      hasRoom: () => hasRoom?.(this.warm.size + 1) ?? true,
      isAllowed: (to, address, port) =>
        typeof to === "string"
          ? this.isAllowed({ protocol: "tcp" }, to, address, port)
          : admission.checkNamed("tcp", address, port) === undefined,
    });
  }

  /**
   * The rules in force: names that they have in `To` are resolved in the background, their warm
   * connections are made, those of others closed.
   */
  setRules(rules: RuleSet): void {
    this.#watch.set(new Set(rules.names));
    this.#rules = rules.rules.filter(({ warmConnections }) => warmConnections > 0);
    const known = this.#learnt;
    this.#learnt = new Map();
    for (const { state } of this.#rules) {
      const target = known.get(state);
      if (target !== undefined) this.#learnt.set(state, target);
    }
    this.#warmUp();
  }

  dialFlow(flow: Flow, handler: DialHandler): Dial {
    const { rule, dialled, dialledName, dialledPort } = flow;
    const isWarm = rule !== undefined && rule.warmConnections > 0;
    if (dialledName === undefined && rule?.sendProxyProtocol === undefined && !isWarm) {
      return this.#options.dialer.dial(dialled!, dialledPort, handler);
    }
    if (isWarm) this.#learn(rule, dialledName ?? dialled!, dialledPort);
    const dial = new FlowDial(flow, handler, () =>
      dialNamed(this.#tools, {
        to: dialledName ?? dialled!,
        port: dialledPort,
        isAllowed: (address) => this.isAllowed(flow, dialledName!, address, dialledPort),
        connected: (stream, address) => connected(flow, handler, stream, address),
        failed: (why) => handler.dialFailed(why),
      }));
    const ready = isWarm ? this.warm.take(dialledName ?? dialled!, dialledPort) : undefined;
    if (ready === undefined) dial.begin();
    else {
      const { after, turn = (run) => void after(0, run) } = this.#options;
      turn(() => dial.take(ready));
    }
    return dial;
  }

  /**
   * Finds an address for a UDP flow to a name: of the client's own family, if the name has one.
   *
   * @param found Called once. With an address also from within the call; never with the reason why
   * there is none, which ends the flow before it has sent anything.
   * @returns what to call if the flow ends before that: it then forgets the flow.
   */
  resolve(flow: Flow, found: (target: IpAddress | NoTarget) => void): () => void {
    const { dialledName, dialledPort, destination } = flow;
    let isStarting = true;
    let isFound = false;
    let isRefused = false;
    const lookup = this.names.resolve(dialledName!, {
      found: (addresses, isLast) => {
        const allowed = addresses.filter((address) =>
          this.isAllowed(flow, dialledName!, address, dialledPort)
        );
        if (allowed.length < addresses.length) isRefused = true;
        if (allowed.length === 0 && !isLast || isFound) return;
        isFound = true;
        const target = allowed.find(({ version }) => version === destination.version) ?? allowed[0];
        const why = isRefused ? "prohibited" : "host-unreachable";
        if (target === undefined && isStarting) queueMicrotask(() => found(why));
        else found(target ?? why);
      },
    });
    isStarting = false;
    return () => lookup.cancel();
  }

  /** Whether an address that a name leads to may be dialled. */
  isAllowed(
    request: Pick<FlowRequest, "protocol">,
    name: string,
    address: IpAddress,
    port: number,
  ): boolean {
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

  /** No connection is kept ready from now on. */
  stopWarm(): void {
    this.#rules = [];
    this.warm.close();
  }

  close(): void {
    this.stopWarm();
    this.#watch.close();
    this.names.close();
  }

  #learn(rule: Rule, to: IpAddress | string, port: number): void {
    if (targetOf(rule) !== undefined) return;
    const known = this.#learnt.get(rule.state);
    if (known !== undefined && `${known.to}` === `${to}` && known.port === port) return;
    if (!this.#rules.some(({ state }) => state === rule.state)) return;
    this.#learnt.set(rule.state, { to, port, count: rule.warmConnections });
    this.#warmUp();
  }

  #warmUp(): void {
    this.warm.set(this.#rules.flatMap((rule) => {
      const target = targetOf(rule) ?? this.#learnt.get(rule.state);
      return target === undefined ? [] : [target];
    }));
  }
}

/** Turns an exception, as for want of a permission, into a dial that fails like any other. */
function thatNeverThrows(dialer: Dialer): Dialer {
  return {
    dial(to, port, handler) {
      try {
        return dialer.dial(to, port, handler);
      } catch (error) {
        log.error("{target} port {port}: {error}", { target: to, port, error });
        let isOver = false;
        queueMicrotask(() => isOver || handler.dialFailed("failed"));
        return { abort: () => void (isOver = true) };
      }
    },
  };
}

/** The target that a rule's rewrite names; undefined if it depends on the flow. */
function targetOf({ rewrite, ports, warmConnections: count }: Rule): WarmTarget | undefined {
  const { to, port = ports.find(({ protocol }) => protocol === "tcp")?.first } = rewrite ?? {};
  if (to === undefined || port === undefined) return undefined;
  return { to: typeof to === "string" ? to : dialledAs(to.address), port, count };
}

/** The dial of one flow: takes a connection that is ready, or makes another. */
class FlowDial implements Dial {
  readonly #flow: Flow;
  readonly #handler: DialHandler;
  readonly #dialAnew: () => Dial;
  #dial: Dial | undefined;
  #isOver = false;

  constructor(flow: Flow, handler: DialHandler, dialAnew: () => Dial) {
    this.#flow = flow;
    this.#handler = handler;
    this.#dialAnew = dialAnew;
  }

  begin(): void {
    this.#dial = this.#dialAnew();
  }

  /** By now everything that had arrived on `ready` has been handed on. */
  take(ready: WarmConnection): void {
    if (this.#isOver) {
      if (ready.isReady) ready.close();
    } else if (!ready.isReady) this.begin();
    else connected(this.#flow, this.#handler, ready.give(), ready.address);
  }

  abort(): void {
    this.#isOver = true;
    this.#dial?.abort();
  }
}

function connected(flow: Flow, handler: DialHandler, stream: ByteStream, address: IpAddress): void {
  flow.dialled = address;
  const version = flow.rule?.sendProxyProtocol;
  // The ends as the client has them: what was asked for, not what was dialled.
  if (version !== undefined) stream.preface(encodeProxyHeader(version, "tcp", flow));
  handler.connected(stream);
}
