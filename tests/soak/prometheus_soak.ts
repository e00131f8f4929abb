/**
 * A real Prometheus beside ten minutes of traffic.
 *
 * @module
 */

import assert from "node:assert/strict";
import { added, flowBytes, Prometheus, ScrapedPair } from "../e2e/prometheus.ts";
import { programTest } from "../with_program.ts";

const SECONDS = 600;
const SCRAPE_S = 5;
/** From one transfer to the next, ms, and how much one moves each way. */
const PAUSE_MS = 250;
const PAYLOAD = [20_000, 350_000] as const;
/** Of what `increase` may differ from the load's own count: a step at either end of the window. */
const TOLERANCE = 0.03;

/** What the load had moved at a time, bytes each way, s since the epoch. */
interface Mark {
  readonly at: number;
  readonly bytes: number;
}

programTest(
  "prometheus",
  `a real Prometheus scrapes for ${SECONDS} s: what it saw is to the byte what the load counted, as is every scrape, and increase() within 3 %`,
  async () => {
    await using pair = await ScrapedPair.start();
    await using prometheus = await Prometheus.start(pair, `${SCRAPE_S}s`);
    await pair.transfer(PAYLOAD[0]);
    let moved: number = PAYLOAD[0];
    await prometheus.until(flowBytes("up"), moved);
    const before: Mark[] = []; // as each transfer began, and when it was over
    const after: Mark[] = [];
    const end = performance.now() + SECONDS * 1_000;
    for (let i = 0; performance.now() < end; i++) {
      // Several sizes, so that no two scrapes see the same.
      const length = PAYLOAD[0] + i * 7_919 % (PAYLOAD[1] - PAYLOAD[0]);
      before.push({ at: Date.now() / 1_000, bytes: moved });
      await pair.transfer(length);
      moved += length;
      after.push({ at: Date.now() / 1_000, bytes: moved });
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    for (const direction of ["up", "down"] as const) {
      const bytes = flowBytes(direction);
      await prometheus.until(bytes, moved);
      const samples = await prometheus.query(`${bytes}[${SECONDS + 120}s]`);
      assert.ok(samples.length > 0.95 * SECONDS / SCRAPE_S, `${samples.length} scrapes`);
      assert.equal(added(samples), moved - samples[0]![1], direction);
      for (const [at, value] of samples) {
        const least = after.findLast((mark) => mark.at < at)?.bytes ?? 0;
        const begun = before.findLastIndex((mark) => mark.at < at + SCRAPE_S);
        const most = after[begun]?.bytes ?? moved;
        assert.ok(value >= least && value <= most, `${value} at ${at}, of ${least} to ${most}`);
      }
      const increase = await prometheus.value(`increase(${bytes}[${SECONDS - 60}s])`);
      const from = Date.now() / 1_000 - (SECONDS - 60);
      const sent = moved - (after.findLast(({ at }) => at <= from)?.bytes ?? 0);
      console.log(
        `${direction}: ${samples.length} scrapes saw ${added(samples)} bytes, as sent; ` +
          `increase() of the last ${SECONDS - 60} s is ${increase} of ${sent}`,
      );
      assert.ok(Math.abs(increase! / sent - 1) < TOLERANCE, `${increase} of ${sent}`);
    }
    const failed = await prometheus.value(`count_over_time((up == 0)[${SECONDS}s:${SCRAPE_S}s])`);
    assert.equal(failed, undefined, "scrapes failed");
    const dials = await prometheus.value("wirestack_dial_duration_seconds_count");
    assert.equal(dials, after.length + 1);
  },
);
