/**
 * CPU time and memory of process trees, and how busy the cores are, from /proc.
 *
 * @module
 */

/** The unit of /proc's CPU times: USER_HZ, 100 on every Linux architecture that Deno runs on. */
const TICKS_PER_SECOND = 100;

/** Counters at one moment. */
export interface Reading {
  /** `performance.now()`, ms. */
  readonly at: number;
  /** CPU seconds of the gateway's process tree. */
  readonly gateway: number;
  /** CPU seconds of all else that this process started, and its own. */
  readonly load: number;
  /** Per core, seconds that something ran on it, whoever's. */
  readonly busy: readonly number[];
}

/** What went on between two readings. */
export interface Usage {
  readonly seconds: number;
  /** CPU seconds of the gateway. */
  readonly gatewaySeconds: number;
  /** CPUs, 1 = all of one. */
  readonly gateway: number;
  readonly load: number;
  readonly busy: readonly number[];
}

export function read(gatewayPid: number): Reading {
  const gateway = cpuSeconds(gatewayPid);
  return {
    at: performance.now(),
    gateway,
    load: cpuSeconds(Deno.pid) - gateway,
    busy: busySeconds(),
  };
}

export function between(before: Reading, after: Reading): Usage {
  const seconds = (after.at - before.at) / 1000;
  return {
    seconds,
    gatewaySeconds: after.gateway - before.gateway,
    gateway: (after.gateway - before.gateway) / seconds,
    load: (after.load - before.load) / seconds,
    busy: after.busy.map((core, i) => (core - before.busy[i]!) / seconds),
  };
}

/** User and system time of a process tree, with that of children that have ended. */
function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const member of tree(pid)) {
    const stat = text(`/proc/${member}/stat`);
    // The program's name, the second field, may have blanks and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // utime, stime, cutime, cstime: fields 14 to 17 of proc(5), counted from 1.
    for (const field of fields.slice(11, 15)) ticks += Number(field);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Resident memory of a process tree in bytes. */
export function residentBytes(pid: number): number {
  let kilobytes = 0;
  for (const member of tree(pid)) {
    kilobytes += Number(text(`/proc/${member}/status`).match(/^VmRSS:\s+(\d+) kB$/m)?.[1] ?? 0);
  }
  return kilobytes * 1024;
}

/** How often the kernel's TCP retransmitted by its timer, in the network namespace of a process. */
export function tcpTimeouts(pid: number): number {
  const [names, values] = text(`/proc/${pid}/net/netstat`).matchAll(/^TcpExt: (.*)$/gm)
    .map(([, line]) => line!.split(" ")).toArray();
  return Number(values?.[names!.indexOf("TCPTimeouts")] ?? 0);
}

/** A process and its descendants, parents first. */
export function tree(pid: number): number[] {
  const children: number[] = [];
  try {
    // A child is listed under the thread that started it.
    for (const { name: thread } of Deno.readDirSync(`/proc/${pid}/task`)) {
      const list = text(`/proc/${pid}/task/${thread}/children`);
      children.push(...list.split(" ").filter((child) => child !== "").map(Number));
    }
  } catch { /* it has ended meanwhile */ }
  return [pid, ...children.flatMap(tree)];
}

function busySeconds(): number[] {
  const cores = text("/proc/stat").matchAll(/^cpu\d+ (.*)$/gm);
  return [...cores].map(([, line]) => {
    const [user, nice, system, _idle, _iowait, irq, softirq, steal] = line!.split(" ").map(Number);
    return (user! + nice! + system! + irq! + softirq! + steal!) / TICKS_PER_SECOND;
  });
}

/** A file's text; nothing when its process has ended. */
function text(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}
