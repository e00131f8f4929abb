/** The whole netstack: a client, the tunnel's link, and a gateway that answers for everybody. */
import assert from "node:assert/strict";
import { IpAddress, Prefix } from "../../netstack/address.ts";
import type { Link } from "../../netstack/link.ts";
import { Stack } from "../../netstack/stack.ts";
import type { TcpEndpoint, TcpError } from "../../netstack/tcp/endpoint.ts";
import type { TcpForwarderRequest } from "../../netstack/tcp/forwarder.ts";
import { type Impairments, Random, Sim } from "./network.ts";
import { forSeeds } from "./seeds.ts";

const MTU = 1420;
const SUBNETS = [
  new Prefix(IpAddress.v4(10, 50, 0, 0), 16),
  new Prefix(v6(0xfd, 0x50, 0), 64),
];

function v6(first: number, second: number, last: number): IpAddress {
  const bytes = new Uint8Array(16);
  bytes.set([first, second]);
  bytes[15] = last;
  return new IpAddress(bytes);
}

/** NIC 2 sends nothing by itself: everything leaves by the NIC it came in on. */
const NOWHERE: Link = {
  buffer: new Uint8Array(0),
  allocate: () => -1,
  release: () => {},
  transmit: () => assert.fail("a packet left by NIC 2"),
  forward: () => assert.fail("a packet left by NIC 2"),
};

class Scene {
  readonly sim: Sim;
  readonly client: Stack;
  readonly gateway: Stack;
  readonly requests: TcpForwarderRequest[] = [];

  constructor(seed: number, impairments: Impairments, answer: (r: TcpForwarderRequest) => void) {
    const sim = this.sim = new Sim(seed);
    const random = new Random(seed);
    const options = { random: (out: Uint8Array) => random.fill(out) };
    const link = sim.link({ mtu: MTU, impairments });
    const stacks = [link.a, link.b].map((port, i) => {
      const stack = new Stack(options);
      const nic = stack.addNic({
        name: "tunnel",
        mtu: MTU,
        link: port,
        addresses: [
          { address: IpAddress.v4(10, 9, 0, 1 + i), length: 24 },
          { address: v6(0xfd, 0x09, 1 + i), length: 64 },
        ],
      });
      port.receive = (buffer, offset, length, now) =>
        stack.handlePacket(nic, buffer, offset, length, now);
      sim.addHost(stack);
      return { stack, nic };
    });
    this.client = stacks[0]!.stack;
    this.gateway = stacks[1]!.stack;
    this.client.routes.insert(new Prefix(IpAddress.v4(0, 0, 0, 0), 0), stacks[0]!.nic);
    this.client.routes.insert(new Prefix(new IpAddress(new Uint8Array(16)), 0), stacks[0]!.nic);
    const proxy = this.gateway.addNic({
      name: "proxy",
      mtu: MTU,
      link: NOWHERE,
      promiscuous: true,
      spoofing: true,
    });
    for (const subnet of SUBNETS) this.gateway.routes.insert(subnet, proxy);
    this.gateway.tcp.setForwarder(proxy, {
      request: (request) => {
        this.requests.push(request);
        answer(request);
      },
    });
  }

  /** Nothing is left once TIME-WAIT is over. */
  end(): void {
    this.sim.runFor(130_000);
    for (const stack of [this.client, this.gateway]) {
      for (const [name, count] of Object.entries(stack.resources())) assert.equal(count, 0, name);
    }
  }
}

/** Sends back what it gets, with back-pressure, and closes when the other side has. */
function echo(endpoint: TcpEndpoint): void {
  const buffer = new Uint8Array(32_768);
  const pump = () => {
    for (;;) {
      const room = Math.min(buffer.length, endpoint.writable);
      const length = endpoint.read(buffer, 0, room);
      if (length === 0) break;
      assert.equal(endpoint.write(buffer, 0, length), length);
    }
    // No room: a write that takes nothing asks for writable().
    if (endpoint.readable > 0) assert.equal(endpoint.write(buffer, 0, 1), 0);
    if (endpoint.endOfFile) endpoint.shutdownWrite();
  };
  endpoint.handler = { readable: pump, writable: pump };
}

class Fetch {
  received = 0;
  closed = 0;
  error: TcpError | undefined;
  #sent = 0;

  constructor(readonly endpoint: TcpEndpoint, readonly bytes: Uint8Array) {
    endpoint.handler = {
      connected: () => this.#send(),
      writable: () => this.#send(),
      readable: () => this.#receive(),
      closed: (error) => {
        this.closed++;
        this.error = error;
      },
    };
  }

  #send(): void {
    this.#sent += this.endpoint.write(this.bytes, this.#sent);
    if (this.#sent === this.bytes.length) this.endpoint.shutdownWrite();
  }

  #receive(): void {
    const into = new Uint8Array(100_000);
    for (let n = this.endpoint.read(into); n > 0; n = this.endpoint.read(into)) {
      for (let i = 0; i < n; i++) {
        if (into[i] !== this.bytes[this.received + i]) assert.fail(`byte ${this.received + i}`);
      }
      this.received += n;
    }
  }
}

const TARGETS = [IpAddress.v4(10, 50, 1, 2), v6(0xfd, 0x50, 7)];

Deno.test("a client's bytes reach the forwarder and come back, over loss, v4 and v6", () => {
  forSeeds(10, (seed) => {
    const impairments = { delay: 15, jitter: 3, loss: 0.03, duplicate: 0.01 };
    const scene = new Scene(seed, impairments, (request) => {
      // Dialling takes 100 ms; the client's SYN may come again meanwhile.
      scene.sim.after(100, () => {
        const endpoint = request.accept();
        if (endpoint !== undefined) echo(endpoint);
      });
    });
    const random = new Random(seed);
    const fetches = Array.from({ length: 20 }, (_, i) => {
      const remote = TARGETS[i % 2]!;
      const endpoint = scene.client.tcp.connect({ remote, remotePort: 1_000 + i }, scene.sim.now);
      return new Fetch(endpoint, random.bytes(1 + random.below(200_000)));
    });
    assert.ok(scene.sim.runUntil(() => fetches.every(({ closed }) => closed > 0), 600_000));
    for (const { error, received, bytes } of fetches) {
      assert.deepEqual([error, received], [undefined, bytes.length]);
    }
    assert.equal(scene.requests.length, 20);
    assert.deepEqual(scene.requests.map(({ target }) => `${target}`).sort(), [
      ...Array(10).fill(`${TARGETS[0]}`),
      ...Array(10).fill(`${TARGETS[1]}`),
    ]);
    scene.end();
  });
});

Deno.test("a closed port is refused in one round trip", () => {
  for (const remote of TARGETS) {
    const scene = new Scene(1, { delay: 50 }, (request) => request.reject("reset"));
    const start = scene.sim.now;
    const endpoint = scene.client.tcp.connect({ remote, remotePort: 9 }, start);
    const fetch = new Fetch(endpoint, new Uint8Array(10));
    assert.ok(scene.sim.runUntil(() => fetch.closed > 0, 10_000));
    assert.equal(fetch.error?.kind, "refused");
    assert.equal(scene.sim.now - start, 100);
    scene.end();
  }
});

Deno.test("an unreachable target is told as such, and the client's attempt ends", () => {
  for (const remote of TARGETS) {
    const scene = new Scene(1, { delay: 50 }, (request) => request.reject("host"));
    const endpoint = scene.client.tcp.connect({ remote, remotePort: 9 }, scene.sim.now);
    const fetch = new Fetch(endpoint, new Uint8Array(10));
    assert.ok(scene.sim.runUntil(() => fetch.closed > 0, 10_000));
    assert.equal(fetch.error?.kind, "unreachable");
    assert.equal(scene.gateway.counters.icmp.errorsSent, 1);
    scene.end();
  }
});

Deno.test("a client that gives up while the target is dialled aborts the request", () => {
  let aborted = 0;
  const scene = new Scene(1, { delay: 50 }, (request) => {
    request.onAborted = () => aborted++;
  });
  const endpoint = scene.client.tcp.connect({ remote: TARGETS[0]!, remotePort: 9 }, scene.sim.now);
  scene.sim.runFor(200);
  assert.equal(scene.gateway.resources().tcpHalfOpen, 1);
  // An application that closes in SYN-SENT sends nothing; a new SYN on the same ports does.
  endpoint.close();
  scene.sim.runFor(200);
  const { localPort } = endpoint;
  const again = { remote: TARGETS[0]!, remotePort: 9, localPort };
  scene.client.tcp.connect(again, scene.sim.now);
  scene.sim.runFor(200);
  assert.deepEqual([aborted, scene.requests.length], [1, 2]);
  scene.requests[1]!.reject("reset");
  scene.end();
});

Deno.test("a reset by the client reaches the forwarder as a reset", () => {
  let error: TcpError | undefined;
  const scene = new Scene(1, { delay: 50 }, (request) => {
    request.accept()!.handler = { closed: (reason) => error = reason };
  });
  const endpoint = scene.client.tcp.connect({ remote: TARGETS[1]!, remotePort: 9 }, scene.sim.now);
  scene.sim.runFor(500);
  endpoint.write(new Uint8Array(100));
  endpoint.abort();
  scene.sim.runFor(500);
  assert.equal(error?.kind, "reset");
  scene.end();
});

Deno.test("a forwarder that does not read fills its window, and nothing more", () => {
  let gateway: TcpEndpoint | undefined;
  const scene = new Scene(1, { delay: 5 }, (request) => gateway = request.accept());
  const endpoint = scene.client.tcp.connect({ remote: TARGETS[0]!, remotePort: 9 }, scene.sim.now);
  const fetch = new Fetch(endpoint, new Uint8Array(3_000_000));
  scene.sim.runFor(60_000);
  const { bufferBytes } = gateway!.info();
  assert.ok(gateway!.readable >= 60_000 && bufferBytes <= 131_072, `${bufferBytes}`);
  // And goes on when it does.
  let read = 0;
  const into = new Uint8Array(50_000);
  const drain = () => {
    for (let n = gateway!.read(into); n > 0; n = gateway!.read(into)) read += n;
    if (gateway!.endOfFile) gateway!.close();
  };
  gateway!.handler = { readable: drain };
  drain();
  assert.ok(scene.sim.runUntil(() => fetch.closed > 0, 60_000));
  assert.deepEqual([read, fetch.error], [3_000_000, undefined]);
  scene.end();
});
