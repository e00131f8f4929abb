import assert from "node:assert/strict";
import * as fc from "fast-check";
import { DnsClient } from "../../../proxy/target/dns_client.ts";
import { decodeAnswer, encodeQuery } from "../../../proxy/target/dns_message.ts";
import { encodeReply, NameServer, soa, zone } from "./name_server.ts";

const NEVER = new AbortController().signal;
const FAST = [150, 300];

async function ask(client: DnsClient, name: string, type: "A" | "AAAA" = "A") {
  const { addresses, ttlMs } = await client.ask(name, type, NEVER);
  return { addresses: addresses.map(String), ttlMs };
}

Deno.test("both families of a name are found, with their time", async () => {
  await using server = new NameServer(zone({ "db.corp.test": ["192.0.2.1", "2001:db8::1"] }, 42));
  const client = new DnsClient([server]);
  assert.deepEqual(await ask(client, "db.corp.test"), { addresses: ["192.0.2.1"], ttlMs: 42_000 });
  assert.deepEqual(await ask(client, "db.corp.test", "AAAA"), {
    addresses: ["2001:db8::1"],
    ttlMs: 42_000,
  });
  assert.deepEqual(client.questions, ["AAAA", "A"]);
});

Deno.test("that there is no such name, or no address, is an answer for as long as the SOA says", async () => {
  await using server = new NameServer(zone({ "four.test": ["192.0.2.4"] }));
  const client = new DnsClient([server]);
  assert.deepEqual(await ask(client, "none.test"), { addresses: [], ttlMs: 2_000 });
  assert.deepEqual(await ask(client, "four.test", "AAAA"), { addresses: [], ttlMs: 2_000 });
  server.answer = () => ({ rcode: 3, authorities: [soa(600, 7)] });
  assert.deepEqual(await ask(client, "none.test"), { addresses: [], ttlMs: 7_000 });
  server.answer = () => ({ rcode: 3 });
  assert.deepEqual(await ask(client, "none.test"), { addresses: [], ttlMs: 0 });
});

Deno.test("a chain of aliases is followed within an answer, and to the next one", async () => {
  await using server = new NameServer(({ name, type }) => {
    if (name !== "a.test") {
      return zone({ "d.test": ["192.0.2.9"] }, 30)({ id: 0, name, type }, false);
    }
    return {
      answers: [ // in no order
        { name: "C.test", type: "CNAME", ttl: 9, data: "d.test" },
        { name: "a.test", type: "CNAME", ttl: 50, data: "b.test" },
        { name: "b.test", type: "CNAME", ttl: 50, data: "c.test" },
      ],
    };
  });
  const client = new DnsClient([server]);
  assert.deepEqual(await ask(client, "a.test"), { addresses: ["192.0.2.9"], ttlMs: 9_000 });
  assert.deepEqual(server.asked, ["A a.test", "A d.test"]);
  server.answer = ({ name }) => ({
    answers: [
      { name, type: "CNAME", ttl: 9, data: "x.test" },
      { name: "x.test", type: "CNAME", ttl: 9, data: name },
    ],
  });
  await assert.rejects(ask(client, "loop.test"), /aliases lead nowhere/);
  server.answer = ({ name }) => ({
    answers: [{ name, type: "CNAME", ttl: 9, data: `x${name}` }],
  });
  await assert.rejects(ask(client, "endless.test"), /aliases lead nowhere/);
});

Deno.test("an answer that is cut off comes whole over TCP", async () => {
  const many = Array.from({ length: 31 }, (_, i) => `192.0.2.${i}`);
  await using server = new NameServer((question, isTcp) =>
    isTcp ? zone({ "many.test": many })(question, isTcp) : { isTruncated: true }
  );
  assert.deepEqual((await ask(new DnsClient([server]), "many.test")).addresses, many);
});

Deno.test("forged answers are passed over: another id, another question, another sender", async () => {
  await using server = new NameServer(({ id, name, type }) => {
    const lie = [{ name, type, ttl: 60, data: "192.0.2.66" }];
    return [
      { id: id ^ 1, answers: lie },
      { question: "other.test", answers: lie },
      { answers: [{ name, type, ttl: 60, data: "192.0.2.1" }] },
    ];
  });
  assert.deepEqual((await ask(new DnsClient([server]), "a.test")).addresses, ["192.0.2.1"]);

  // A server whose answers come from another port than the one that was asked.
  const elsewhere = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const silent = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = silent.addr as Deno.NetAddr;
  const asking = ask(new DnsClient([{ address: server.address, port }], [200]), "a.test");
  const [message, from] = await silent.receive();
  const id = message[0]! << 8 | message[1]!;
  const answers = [{ name: "a.test", type: "A", ttl: 60, data: "192.0.2.66" }];
  await elsewhere.send(encodeReply({ answers }, { id, name: "a.test", type: "A" }), from);
  await assert.rejects(asking, /no name server answers/);
  elsewhere.close();
  silent.close();
});

Deno.test("the next server is asked where one is silent or does not know, and goes first from then on", async () => {
  await using silent = new NameServer(() => undefined);
  await using broken = new NameServer(() => ({ rcode: 2 }));
  await using good = new NameServer(zone({ "a.test": ["192.0.2.1"] }));
  const client = new DnsClient([silent, broken, good], FAST);
  assert.deepEqual((await ask(client, "a.test")).addresses, ["192.0.2.1"]);
  assert.deepEqual((await ask(client, "a.test")).addresses, ["192.0.2.1"]);
  assert.equal(silent.asked.length, 1);
  assert.equal(good.asked.length, 2);
});

Deno.test("without a server that answers the question fails, and says why", async () => {
  await using broken = new NameServer(() => ({ rcode: 5 }));
  await assert.rejects(
    ask(new DnsClient([broken], FAST), "a.test"),
    /127\.0\.0\.1: it answers REFUSED/,
  );
  broken.answer = () => undefined;
  await assert.rejects(ask(new DnsClient([broken], FAST), "a.test"), /no name server answers/);
  assert.equal(broken.asked.length, 4); // two rounds each
});

Deno.test("a question that is given up leaves no socket and asks nobody else", async () => {
  await using silent = new NameServer(() => undefined);
  await using other = new NameServer(() => undefined);
  const stop = new AbortController();
  const asking = new DnsClient([silent, other]).ask("a.test", "A", stop.signal);
  stop.abort();
  await assert.rejects(asking);
  assert.deepEqual(other.asked, []);
});

Deno.test("ids and ports are other ones each time", async () => {
  const ids = new Set<number>();
  await using server = new NameServer((question, isTcp) => {
    ids.add(question.id);
    return zone({ "a.test": ["192.0.2.1"] })(question, isTcp);
  });
  const client = new DnsClient([server]);
  for (let i = 0; i < 16; i++) await client.ask("a.test", "A", NEVER);
  assert.ok(ids.size > 12, `${ids.size} ids`);
});

Deno.test("a message of another implementation is read: RFC 1035's compression", () => {
  // dig's view of an answer of BIND: www.example.test CNAME web.example.test, A 192.0.2.80
  const message = Uint8Array.fromHex(
    "abcd81800001000200000000" + "03777777076578616d706c650474657374000001" + "0001" +
      "c00c000500010000000a0006" + "03776562c010" + "c02e000100010000012c0004" + "c0000250",
  );
  const answer = decodeAnswer(message, 0xabcd, "www.example.test", "A");
  assert.ok(answer?.kind === "addresses");
  assert.deepEqual(answer.addresses.map(String), ["192.0.2.80"]);
  assert.equal(answer.ttlMs, 10_000);
  assert.equal(decodeAnswer(message, 0xabce, "www.example.test", "A"), undefined);
  assert.equal(decodeAnswer(message, 0xabcd, "www.example.test", "AAAA"), undefined);
  assert.equal(decodeAnswer(message, 0xabcd, "web.example.test", "A"), undefined);
  assert.equal(
    encodeQuery(7, "a.test", "A").toHex(),
    "0007010000010000000000000161047465737400" + "00010001",
  );
});

Deno.test("no message makes it throw", () => {
  const name = "a.test";
  const good = encodeReply({
    answers: [
      { name, type: "CNAME", ttl: 9, data: "b.test" },
      { name: "b.test", type: "A", ttl: 9, data: "192.0.2.1" },
    ],
    authorities: [soa(5)],
  }, { id: 1, name, type: "A" });
  const bytes = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 });
  fc.assert(
    fc.property(bytes, fc.nat(good.length), (changes, cut) => {
      const message = good.slice(0, good.length - (cut % 3 === 0 ? cut : 0));
      for (const [at, byte] of changes) if (at < message.length) message[at] = byte;
      const answer = decodeAnswer(message, 1, name, "A");
      if (answer === undefined || answer.kind === "truncated" || answer.kind === "failed") return;
      assert.ok(answer.ttlMs >= 0 && answer.ttlMs <= 1000 * 2 ** 31);
    }),
    { numRuns: 1_000 },
  );
});
