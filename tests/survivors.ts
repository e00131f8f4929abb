/**
 * What short-lived objects cost the garbage collector.
 *
 * @module
 */

import { Session } from "node:inspector";

/**
 * Bytes allocated by `work` that collections of the young generation left, by samples: what lives, and
 * garbage that older garbage has kept, which takes a full collection to go.
 *
 * @param prepare Runs before a full collection, so that what it leaves is old when `work` begins.
 */
export async function survivors(
  prepare: () => void | Promise<void>,
  work: () => void | Promise<void>,
): Promise<number> {
  const session = new Session();
  session.connect();
  const awake = setInterval(() => {}, 1000); // the inspector's answers keep no event loop alive
  const post = (method: string, parameters?: object) =>
    new Promise<unknown>((resolve, reject) =>
      session.post(method, parameters, (error, result) => error ? reject(error) : resolve(result))
    );
  try {
    await post("HeapProfiler.enable");
    await prepare();
    await post("HeapProfiler.collectGarbage");
    await post("HeapProfiler.startSampling", {
      samplingInterval: 4096,
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: false,
    });
    await work();
    const { profile } = await post("HeapProfiler.stopSampling") as { profile: { head: Node } };
    return total(profile.head);
  } finally {
    clearInterval(awake);
    session.disconnect();
  }
}

interface Node {
  readonly selfSize: number;
  readonly children: readonly Node[];
}

function total({ selfSize, children }: Node): number {
  return children.reduce((sum, child) => sum + total(child), selfSize);
}
