/**
 * An endpoint to which this side opens the carriers, one after the other.
 *
 * @module
 */

import { getLogger } from "../../log/logger.ts";
import { isWorthALine } from "../../log/thinning.ts";
import type { Bind } from "../bind.ts";
import { Backoff } from "./backoff.ts";
import type { Carrier, CarrierDialer } from "./carrier.ts";
import type { StreamState } from "./carrier_stats.ts";
import { StreamEndpoint, type StreamHost } from "./endpoint.ts";

const log = getLogger(["wirestack", "relay"]);

export class DialledEndpoint extends StreamEndpoint {
  /** Called when {@link state} is another. */
  onState: (state: StreamState) => void = () => {};
  /** Called with {@link problem} when it has failed. */
  onProblem: (problem: string) => void = () => {};
  readonly #dialer: CarrierDialer;
  readonly #backoff: Backoff;
  #state: StreamState = "closed";
  /** Whether it is to be kept open; otherwise it is opened when there is something to send. */
  #isWanted = false;
  #attempt: AbortController | undefined;
  #callOff: () => void = () => {};
  #failures = 0;
  #problem: string | undefined;

  /** Use `StreamBind.endpoint`. */
  constructor(bind: Bind, host: StreamHost, dialer: CarrierDialer) {
    super(bind, host);
    this.#dialer = dialer;
    this.#backoff = new Backoff({ random: host.random });
  }

  override get state(): StreamState {
    return this.#state;
  }

  /** As configured. */
  get url(): string {
    return this.#dialer.url;
  }

  override get problem(): string | undefined {
    return this.#problem;
  }

  override get port(): number {
    return this.#dialer.port;
  }

  /** Opens it and keeps it open, until {@link close}. */
  open(): void {
    this.#isWanted = true;
    if (this.#state === "closed") this.#dial();
  }

  /** Ends it. Something to send opens it again. */
  close(): void {
    this.#isWanted = false;
    this.#callOff();
    this.#attempt?.abort();
    this.#attempt = undefined;
    this.end();
    this.#setState("closed");
  }

  /**
   * What is sent before there is a carrier opens one, and is lost. Were a handshake to wait for it, two
   * would arrive at once, since another is begun when it is open: the other side answers the first alone.
   */
  override send(buffer: Uint8Array, offset: number, length: number): void {
    if (this.#state === "closed") this.#dial();
    super.send(buffer, offset, length);
  }

  override toString(): string {
    return this.#dialer.url;
  }

  protected override heard(): void {
    if (this.#state === "open") return;
    this.#failures = 0;
    this.#problem = undefined;
    this.#backoff.reset();
    const { url, remote } = this;
    log.info("{url}: connected, the other side is {name}", { url, name: remote!.description });
    this.#setState("open");
  }

  protected override lost(reason: string): void {
    this.#failed(reason);
  }

  async #dial(): Promise<void> {
    const attempt = this.#attempt = new AbortController();
    this.#setState("connecting");
    let carrier: Carrier;
    try {
      carrier = await this.#dialer.dial(attempt.signal);
    } catch (error) {
      if (this.#attempt !== attempt) return;
      this.host.counters.dialFailures++;
      this.#failed((error as Error).message);
      return;
    }
    if (this.#attempt !== attempt) {
      carrier.close();
      return;
    }
    this.host.counters.dialled++;
    this.attach(carrier);
  }

  #failed(problem: string): void {
    this.#attempt = undefined;
    this.#problem = problem;
    this.#failures++;
    const delay = this.#backoff.next();
    if (isWorthALine(this.#failures)) {
      log.warn("{url}: {problem}; trying again in {seconds} s", {
        url: this.url,
        problem,
        seconds: Math.ceil(delay / 100) / 10,
      });
    }
    this.#callOff = this.host.timers.after(delay, () => {
      if (this.#isWanted) this.#dial();
      else this.#setState("closed");
    });
    this.onProblem(problem);
    this.#setState("waiting");
  }

  #setState(state: StreamState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.onState(state);
  }
}
