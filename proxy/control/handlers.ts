/**
 * What the control socket and SIGHUP do to a running gateway.
 *
 * @module
 */

import { Errno } from "../../ffi/mod.ts";
import type { LoadedConfig } from "../config/config.ts";
import { ConfigError } from "../config/error.ts";
import type { Enrolment } from "../gateway/enrolment/enrolment.ts";
import type { Gateway, GatewayStats, StatsInSteps } from "../gateway/gateway.ts";
import { getLogger } from "../log/logger.ts";
import { parseSettings } from "../config/setting.ts";
import { quote } from "../config/values.ts";
import { findPeer, peerName } from "../gateway/peer_name.ts";
import { AmbiguousFlow } from "../gateway/flow_stats.ts";
import { type Applied, LiveSettings } from "../gateway/live_settings.ts";
import { RequestError } from "./refusal.ts";
import type { ControlHandlers } from "./operations.ts";
import type { Texts } from "../config/read_file.ts";
import { beginCapture } from "./captures.ts";
import { uapiGet } from "./uapi_get.ts";
import { uapiSet } from "./uapi_set.ts";

const log = getLogger(["wirestack", "config"]);

/** What a gateway that runs from the command line says of itself. */
export type ControlledStats = GatewayStats & {
  /** Its whole path; null when there is none. */
  readonly configFile: string | null;
  /** UDP port, where file or flags name one; null when it is any. */
  readonly fixedPort: number | null;
  /** Bytes. */
  readonly mtu: number;
  /** `ADDRESS/LENGTH` each. */
  readonly addresses: readonly string[];
  /** Promised to machines that were invited. */
  readonly reserved: readonly string[];
};

export interface HandlerOptions {
  /** What the gateway was started with. */
  readonly started: LoadedConfig;
  /** Its whole path, if it came from a file. */
  readonly file?: string;
  /** Reads the configuration again. @param texts As of {@link ControlHandlers.reload}. */
  load(texts?: Texts): Promise<LoadedConfig>;
  /** The gateway has taken a configuration over. */
  readonly applied?: Applied;
}

export function controlHandlers(
  gateway: Gateway,
  options: HandlerOptions,
): Omit<ControlHandlers, "stop"> {
  const { started, file } = options;
  let last: Promise<unknown> = Promise.resolve();
  const settings = new LiveSettings(gateway, started, options.applied);
  const reload = async (texts?: Texts) => {
    try {
      const loaded = await options.load(texts);
      const report = settings.reload(loaded);
      const { added, removed, changed } = report;
      const changes = [...report.changes, ...report.links];
      const warnings = [...loaded.warnings, ...report.warnings];
      for (const warning of warnings) log.warn("{warning}", { warning });
      log.info(
        "reloaded: peers added {added}, removed {removed}, changed {changed}" +
          (changes.length > 0 ? "; {changes}" : ""),
        { added, removed, changed, ...(changes.length > 0 && { changes: changes.join("; ") }) },
      );
      return { warnings, changes: [...changes, ...few(report.peers)] };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      for (const problem of error.problems) log.error("{problem}", { problem });
      log.error("not reloaded: the configuration stays as it is");
      throw error;
    }
  };
  return {
    get: () => uapiGet(gateway),
    set: (request) => uapiSet(gateway, request),
    stats: async (): Promise<Omit<ControlledStats, "peers"> & Pick<StatsInSteps, "peers">> => ({
      ...await gateway.statsInSteps(),
      configFile: file ?? null,
      fixedPort: settings.listenPort ? gateway.port : null,
      mtu: started.config.mtu,
      addresses: started.config.addresses.map(({ address, length }) => `${address}/${length}`),
      reserved: gateway.enrolment?.reserved.map(String) ?? [],
    }),
    /** One after the other: each reads the file when its turn comes. */
    reload(texts) {
      const result = last.then(() => reload(texts));
      last = result.catch(() => {});
      return result;
    },
    change(texts) {
      const { changes, warnings } = settings.set(parseSettings(texts));
      for (const warning of warnings) log.warn("{warning}", { warning });
      if (changes.length > 0) log.info("set: {changes}", { changes: changes.join("; ") });
      return { changes, warnings };
    },
    flows(peer, hasTargets) {
      if (peer === undefined) return gateway.flowsInSteps(undefined, hasTargets);
      const found = findPeer(gateway.engine.device, peer);
      if (found !== undefined) return gateway.flowsInSteps(peerName(found), hasTargets);
      const link = gateway.links.find(peer);
      if (link !== undefined) return gateway.flowsInSteps(link.name, hasTargets);
      throw new RequestError(
        Errno.EINVAL,
        `peer ${quote(peer)}: unknown, expected a peer's name or public key, or a link's name`,
      );
    },
    peers: (text) => gateway.peerStats(text),
    kill(id) {
      if (!/^[0-9a-f]{1,32}$/i.test(id)) {
        throw new RequestError(
          Errno.EINVAL,
          `flow ${quote(id)}: expected an id, or its first digits, as show flows has them`,
        );
      }
      try {
        const killed = gateway.killFlow(id);
        if (killed !== undefined) return killed;
      } catch (error) {
        if (!(error instanceof AmbiguousFlow)) throw error;
        throw new RequestError(Errno.EINVAL, `flow ${error.message}`);
      }
      throw new RequestError(Errno.ESRCH, `flow ${id}: there is none, expected one of show flows`);
    },
    capture: (request) => beginCapture(gateway, request),
    enrolment: {
      invite: (request) => enrolmentOf(gateway).invite(request),
      invites: () => enrolmentOf(gateway).invites(),
      revoke: (name) => enrolmentOf(gateway).revoke(name),
    },
  };
}

/** @throws {ConfigError} if it has none. */
function enrolmentOf({ enrolment }: Gateway): Enrolment {
  if (enrolment !== undefined) return enrolment;
  throw new ConfigError([
    "this gateway has no WireGuard of its own that machines could join, expected wirestack hub",
  ]);
}

/** Lines shown to a person; of more only the number. */
const MAX_LINES = 50;

function few(lines: readonly string[]): readonly string[] {
  if (lines.length <= MAX_LINES) return lines;
  return [...lines.slice(0, MAX_LINES), `and ${lines.length - MAX_LINES} peers more`];
}
