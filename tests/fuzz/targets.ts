import type { Target } from "./target.ts";
import { dns, proxyProtocol } from "./targets/answers.ts";
import { captureFilter } from "./targets/capture.ts";
import { certificates } from "./targets/certificates.ts";
import { config } from "./targets/config.ts";
import { enrolment } from "./targets/enrolment.ts";
import { forms } from "./targets/forms.ts";
import { framing } from "./targets/framing.ts";
import { http } from "./targets/http.ts";
import { icmp } from "./targets/icmp.ts";
import { ipv4 } from "./targets/ipv4.ts";
import { ipv6 } from "./targets/ipv6.ts";
import { nat } from "./targets/nat.ts";
import { operations } from "./targets/operations.ts";
import { packets } from "./targets/packets.ts";
import { reassembly } from "./targets/reassembly.ts";
import { relay } from "./targets/relay.ts";
import { streams } from "./targets/streams.ts";
import { tcp } from "./targets/tcp.ts";
import { udp } from "./targets/udp.ts";
import { wireguard } from "./targets/wireguard.ts";

export const TARGETS: readonly Target[] = [
  ipv4,
  ipv6,
  icmp,
  udp,
  tcp,
  reassembly,
  nat,
  packets,
  operations,
  wireguard,
  config,
  forms,
  dns,
  proxyProtocol,
  framing,
  captureFilter,
  enrolment,
  relay,
  streams,
  certificates,
  http,
];
