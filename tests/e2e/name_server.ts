/**
 * A name server: of an address, with a zone from a file that may change, as `{"NAME": ["ADDRESS"]}`. Its
 * answers hold for a second.
 *
 * @module
 */

import { NameServer, zone } from "../proxy/target/name_server.ts";

const [hostname, file] = Deno.args as [string, string];
await using _server = new NameServer(
  (question, isTcp) => zone(JSON.parse(Deno.readTextFileSync(file)), 1)(question, isTcp),
  hostname,
  53,
);
console.log("ready");
await new Promise(() => {});
