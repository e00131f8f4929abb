/**
 * Captures that are asked for by the control socket.
 *
 * @module
 */

import { Errno } from "../../ffi/mod.ts";
import { hostAndPort } from "../address.ts";
import { type CaptureOptions, Captures } from "../capture/captures.ts";
import { CaptureError } from "../capture/error.ts";
import { CaptureListener } from "../capture/listener.ts";
import { parseCaptureListen, parseSnap } from "../config/capture_values.ts";
import { type Parse, ParseFailure } from "../config/values.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { getLogger } from "../log/logger.ts";
import { RequestError } from "./refusal.ts";
import type { AnswerStream, CaptureRequest, ControlHandlers } from "./operations.ts";

const log = getLogger(["wirestack", "capture"]);

/** @throws {RequestError} naming the flag of `wirestack capture` that is wrong. */
export function beginCapture(
  gateway: Gateway,
  request: CaptureRequest,
): ReturnType<ControlHandlers["capture"]> {
  const { filter, hasKeys, listen } = request;
  const snapLength = parsed("--snap", request.snap, parseSnap);
  const place = parsed("--listen", listen, parseCaptureListen);
  const options: CaptureOptions = {
    at: request.at,
    keys: hasKeys,
    ...(filter !== undefined && { filter }),
    ...(snapLength !== undefined && { snapLength }),
  };
  const captures = Captures.of(gateway);
  try {
    const { at } = captures.check(options);
    if (place === undefined) return { at, stream: streamOf(captures, options) };
    const listener = new CaptureListener(place);
    listener.serve(captures, options, gateway.proxy.listeners);
    const { hostname, port } = listener.address;
    return {
      at,
      listening: hostAndPort(hostname, port),
      stream: untilStopped(gateway, listener),
    };
  } catch (error) {
    if (!(error instanceof CaptureError)) throw error;
    const { option, message } = error;
    throw new RequestError(
      Errno.EINVAL,
      option === undefined ? message : `--${option}: ${message}`,
    );
  }
}

function parsed<T>(flag: string, text: string | undefined, parse: Parse<T>): T | undefined {
  if (text === undefined) return undefined;
  const value = parse(text);
  if (!(value instanceof ParseFailure)) return value;
  throw new RequestError(Errno.EINVAL, `${flag}: ${value.message}`);
}

function streamOf(captures: Captures, options: CaptureOptions): AnswerStream {
  const capture = captures.open(options);
  log.info("capturing at {at}", { at: capture.settings.at.join(", ") });
  let isClosed = false;
  return {
    read: () => capture.read(),
    stop: () => capture.stop(),
    close() {
      capture.close();
      if (isClosed) return;
      isClosed = true;
      const { accepted, dropped } = capture.counts;
      log.info("captured {packets} packets, {lost} were lost", {
        packets: accepted - dropped,
        lost: dropped,
      });
    },
  };
}

/** Nothing until the client or the gateway ends it, then what readers were given: `packets=`, `lost=`. */
function untilStopped(gateway: Gateway, listener: CaptureListener): AnswerStream {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = () => {
    listener.close();
    resolve();
  };
  gateway.closed.catch(() => {}).finally(stop);
  let isTold = false;
  return {
    async read() {
      await promise;
      if (isTold) return undefined;
      isTold = true;
      const { packets, lost } = listener.counts;
      return new TextEncoder().encode(`packets=${packets}\nlost=${lost}\n`);
    },
    stop,
    close: stop,
  };
}
