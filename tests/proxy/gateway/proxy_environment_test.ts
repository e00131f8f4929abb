import assert from "node:assert/strict";
import { proxyFor } from "../../../proxy/gateway/proxy_environment.ts";

Deno.test("a hub is called through the proxy of the environment, unless that exempts it", () => {
  for (
    const [environment, expected] of [
      [{}, undefined],
      [{ HTTPS_PROXY: "http://proxy:3128" }, 3128],
      [{ https_proxy: "proxy:1", HTTPS_PROXY: "http://proxy:2" }, 1],
      [{ https_proxy: "", HTTPS_PROXY: " proxy:2 " }, 2],
      [{ HTTPS_PROXY: "proxy:2", NO_PROXY: "other,.example.com" }, undefined],
      [{ HTTPS_PROXY: "proxy:2", no_proxy: "hub.example.com:443" }, 2],
      [{ HTTP_PROXY: "proxy:2", http_proxy: "proxy:2" }, undefined],
    ] as const
  ) {
    const proxy = proxyFor(
      "hub.example.com",
      8443,
      (name) => (environment as Record<string, string>)[name],
    );
    assert.equal(proxy?.port, expected, JSON.stringify(environment));
  }
});

Deno.test("a wrong proxy is an error without what it says", () => {
  const environment = (name: string) => name === "HTTPS_PROXY" ? "https://me:secret@x" : undefined;
  assert.throws(() => proxyFor("hub", 1, environment), {
    message: "HTTPS_PROXY has the scheme https, expected http://HOST:PORT",
  });
});
