/**
 * The scenarios of netns.sh, the self-test of WireGuard in the Linux kernel, with Wirestack on one side.
 * `docs/wireguard.md` has the list.
 *
 * @module
 */

import "./cases/netns_traffic.ts";
import "./cases/netns_tunnel.ts";
import "./cases/netns_config.ts";
import "./cases/netns_control.ts";
