/**
 * The network of this host: interfaces, addresses, routes and rules, by rtnetlink(7).
 *
 * @module
 */

export { NetlinkError } from "./error.ts";
export { type AddressOptions, type InterfaceAddress } from "./interface_address.ts";
export { type LinkChange, type LinkInfo } from "./link.ts";
export { type Lookup, Netlink } from "./netlink.ts";
export {
  MAIN_TABLE,
  type NextHop,
  type Route,
  RouteProtocol,
  type RouteSpec,
  type RouteType,
} from "./route.ts";
export { type Rule, type RuleSpec } from "./rule.ts";
