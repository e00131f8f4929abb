import assert from "node:assert/strict";
import { timingSafeEqual } from "node:crypto";
import { Guard } from "../../../proxy/watch/guard.ts";
import { isReadableByAll, readToken } from "../../../proxy/watch/token_file.ts";

Deno.test("a request is answered for an address, localhost or a name that is allowed, and for no other", () => {
  const guard = new Guard();
  guard.setHosts(["gateway.corp.test"]);
  const cases: [string | undefined, boolean][] = [
    ...["127.0.0.1", "127.0.0.1:9586", "192.0.2.7:80", "[::1]", "[fd00::1]:9586"],
    ...["localhost", "LOCALHOST:9586", "gateway.corp.test", "Gateway.Corp.Test.:80"],
  ].map((host): [string, boolean] => [host, true]);
  for (
    const host of [
      ...[undefined, "", "evil.test", "evil.test:9586", "127.0.0.1.evil.test", "localhost.evil"],
      ...["127.0.0.1:9586:1", "[::1", "::1", "[127.0.0.1]", "127.0.0.1 ", "a@127.0.0.1", "[evil]"],
      ...["2130706433", "0x7f.1", "gateway.corp.test/evil", "gateway.corp.test:x"],
    ]
  ) cases.push([host, false]);
  for (const [host, isOurs] of cases) {
    const expected = isOurs ? undefined : 421;
    assert.equal(guard.check({ host, authorization: undefined }), expected, host);
  }
});

Deno.test("where there is a token, it is asked for, as a bearer alone; the name comes first", () => {
  const guard = new Guard();
  const token = "0123456789abcdef";
  guard.setToken(token);
  const check = (authorization: string | undefined, host = "localhost") =>
    guard.check({ host, authorization });
  assert.equal(check(`Bearer ${token}`), undefined);
  assert.equal(check(`bearer ${token}`), undefined);
  for (
    const wrong of [
      ...[
        undefined,
        "",
        "Bearer",
        "Bearer ",
        token,
        `Basic ${btoa(`x:${token}`)}`,
        `Bearer ${token}0`,
      ],
      ...[`Bearer ${token.slice(1)}`, `Bearer ${token} x`, `Token ${token}`, `Bearer "${token}"`],
    ]
  ) assert.equal(check(wrong), 401, wrong);
  assert.equal(check(undefined, "evil.test"), 421);
  assert.equal(check(`Bearer ${token}`, "evil.test"), 421);
  guard.setToken(undefined);
  assert.equal(check(undefined), undefined);
});

Deno.test("a token is compared once and in constant time, whatever was given and however long", () => {
  const compared: [number, number][] = [];
  const guard = new Guard((a, b) => {
    compared.push([a.length, b.length]);
    return timingSafeEqual(a, b);
  });
  const token = "0123456789abcdef";
  guard.setToken(token);
  const given = [
    undefined,
    "",
    "x",
    token.slice(0, 15),
    `${token.slice(0, 15)}x`,
    "y".repeat(4000),
  ];
  for (const each of given) {
    const authorization = each === undefined ? undefined : `Bearer ${each}`;
    assert.equal(guard.check({ host: "localhost", authorization }), 401, each);
  }
  const authorization = `Bearer ${token}`;
  assert.equal(guard.check({ host: "localhost", authorization }), undefined);
  assert.deepEqual(compared, Array(given.length + 1).fill([32, 32]));
});

Deno.test("a token's file holds one line that cannot be guessed, and no message repeats it", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "0123456789abcdef\n");
    assert.equal(readToken(file), "0123456789abcdef");
    assert.equal(isReadableByAll(file), false);
    await Deno.chmod(file, 0o644);
    assert.equal(isReadableByAll(file), true);
    for (
      const [text, message] of [
        ["", /holds no token, expected one line of visible ASCII$/],
        ["two words of a token", /holds no token/],
        ["short-secret", /the token has 12 characters, expected 16 or more$/],
        ["x".repeat(5000), /holds no token/],
      ] as const
    ) {
      await Deno.writeTextFile(file, text);
      assert.throws(() => readToken(file), (error: Error) => {
        assert.match(error.message, message);
        return text === "" || !error.message.includes(text.slice(0, 12));
      });
    }
    assert.throws(() => readToken("/no/such"), /^TypeError: \/no\/such: .*expected a file/);
  } finally {
    await Deno.remove(file);
  }
});
