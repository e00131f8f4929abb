/**
 * What a start leaves behind.
 *
 * @module
 */

/** V8's own, where `--expose-gc` is set, as the tasks that start a gateway and the executable have it. */
interface Collecting {
  readonly gc?: (options: { type: "major"; flavor: "last-resort" }) => void;
}

/**
 * Gives back what the start has used and nothing needs any more: a young generation that loading the
 * program had grown, 8 MB of it, would stay as it is until packets fill it. To be called once, when
 * nobody is served yet: it takes some 60 ms.
 */
export function collectStart(): void {
  (globalThis as Collecting).gc?.({ type: "major", flavor: "last-resort" });
}
