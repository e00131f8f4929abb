/**
 * The gateway between real peers: streams, datagrams and pings. Another file than gateway_test.ts, so
 * that labs of both may stand at once.
 *
 * @module
 */

import "./cases/transfer.ts";
import "./cases/udp.ts";
import "./cases/ping.ts";
