/**
 * The gateway between real peers: who is reached, the tunnel's life, and many connections.
 * `deno task test tests/e2e --filter "closed port"` runs a part.
 *
 * @module
 */

import "./cases/reach.ts";
import "./cases/refuse.ts";
import "./cases/nat.ts";
import "./cases/session.ts";
import "./cases/load.ts";
import { buildInBackground } from "./wireguard_programs.ts";

// For interop_test.ts, which comes after this one: boringtun alone takes more than a minute.
buildInBackground();
