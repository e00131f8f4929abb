/**
 * The gateway between real peers. One module, so that all cases share one installed copy of it;
 * `deno task test tests/e2e --filter "closed port"` runs a part.
 *
 * @module
 */

import "./cases/reach.ts";
import "./cases/refuse.ts";
import "./cases/transfer.ts";
import "./cases/udp.ts";
import "./cases/ping.ts";
import "./cases/nat.ts";
import "./cases/session.ts";
import "./cases/load.ts";
import { buildInBackground } from "./wireguard_programs.ts";

// For interop_test.ts, which comes after this one: boringtun alone takes more than a minute.
buildInBackground();
