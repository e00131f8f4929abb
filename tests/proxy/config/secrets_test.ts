import assert from "node:assert/strict";
import { ConfigError, loadConfig } from "../../../proxy/config/config.ts";

const KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

for (
  const [name, value] of [
    ["whole", KEY],
    ["without its end", KEY.slice(0, 40)],
    ["with a comma in the middle", `${KEY.slice(0, 15)},${KEY.slice(15)}`],
  ] as const
) {
  Deno.test(`a key in the wrong place is not shown, ${name}`, () => {
    const text =
      `[Interface]\nPrivateKey = ${KEY}\n[Proxy]\nSubnets = 10.0.0.0/8\nMap = ${value}\n`;
    assert.throws(() => loadConfig(text, { file: "wg0.conf" }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /^wg0\.conf:5: Map: /m);
      for (let i = 0; i + 25 <= KEY.length; i++) {
        assert.ok(!error.message.includes(KEY.slice(i, i + 25)), error.message);
      }
      return true;
    });
  });
}
