import assert from "node:assert/strict";
import type { TcpEndpoint, TcpError, TcpHandler } from "../../netstack/mod.ts";
import type { FuzzHost } from "./host.ts";

/** How many endpoints of a run have not had their last callback. */
export class Census {
  open = 0;
}

/**
 * Gives `endpoint` a handler, and asserts what every handler is promised: callbacks during the flush
 * only, `connected` at most once and first, `closed` exactly once and last.
 */
export function watch(
  endpoint: TcpEndpoint,
  host: FuzzHost,
  census: Census,
  handler: TcpHandler,
): void {
  let isConnected = false;
  let isClosed = false;
  census.open++;
  const check = (name: string) => {
    assert.ok(host.isFlushing, `${name} outside of the flush`);
    assert.ok(!isClosed, `${name} after closed`);
  };
  endpoint.handler = {
    connected: () => {
      check("connected");
      assert.ok(!isConnected, "connected twice");
      isConnected = true;
      handler.connected?.();
    },
    readable: () => {
      check("readable");
      handler.readable?.();
    },
    writable: () => {
      check("writable");
      handler.writable?.();
    },
    broken: (error: TcpError) => {
      check("broken");
      assert.equal(endpoint.error, error);
      assert.ok(endpoint.readable > 0, "broken with nothing to read");
      assert.equal(endpoint.write(new Uint8Array(1)), 0);
      handler.broken?.(error);
    },
    closed: (error: TcpError | undefined) => {
      check("closed");
      isClosed = true;
      census.open--;
      assert.equal(endpoint.error, error);
      handler.closed?.(error);
      checkDead(endpoint);
    },
  };
}

/** Whatever is still called on a closed endpoint does nothing. */
function checkDead(endpoint: TcpEndpoint): void {
  const bytes = new Uint8Array(10);
  assert.equal(endpoint.write(bytes, 0, 10), 0);
  assert.equal(endpoint.writable, 0);
  endpoint.shutdownWrite();
  endpoint.close();
  endpoint.abort();
  endpoint.setNoDelay(true);
  endpoint.setKeepAlive({ idle: 1, interval: 1, count: 1 });
  endpoint.info();
}
