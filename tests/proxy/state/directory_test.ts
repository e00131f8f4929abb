import assert from "node:assert/strict";
import { stateDirectories } from "../../../proxy/state/directory.ts";

Deno.test("the folder is the service's, the system's or the user's", () => {
  const of = (environment: Record<string, string>) => stateDirectories((name) => environment[name]);
  assert.deepEqual(of({}), ["/var/lib/wirestack"]);
  assert.deepEqual(of({ XDG_STATE_HOME: "/home/u/state" }), [
    "/var/lib/wirestack",
    "/home/u/state/wirestack",
  ]);
  assert.deepEqual(of({ XDG_STATE_HOME: "state" }), ["/var/lib/wirestack"]);
  assert.deepEqual(of({ XDG_STATE_HOME: "/home/u/state", HOME: "/home/u" }), [
    "/var/lib/wirestack",
    "/home/u/state/wirestack",
  ]);
  for (const state of ["", "state"]) {
    assert.deepEqual(of({ XDG_STATE_HOME: state, HOME: "/home/u" }), [
      "/var/lib/wirestack",
      "/home/u/.local/state/wirestack",
    ]);
  }
  assert.deepEqual(of({ HOME: "home" }), ["/var/lib/wirestack"]);
  const service = { STATE_DIRECTORY: "/var/lib/a:/var/lib/b", XDG_STATE_HOME: "/x" };
  assert.deepEqual(of(service), ["/var/lib/a"]);
});
