/**
 * All that a command needs that runs a gateway: loaded in one go, for with each import that comes by itself
 * the runtime goes through everything again that it has loaded.
 *
 * @module
 */

import "./commands/up.ts";
import "./load.ts";
import "./up.ts";
import "../arena/crypto.ts";
import "../bind/udp_open.ts";
import "../capture/recorder.ts";
import "../control/handlers.ts";
import "../gateway/gateway.ts";
import "../watch/watch.ts";
import "../../ffi/mod.ts";
