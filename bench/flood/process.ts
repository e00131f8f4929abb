/** Processes of the flood's bench: a line of JSON or a text in, lines out. */

export function spawn(module: string, args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "-A", new URL(module, import.meta.url).href, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}

/** Gives a process all of its input. */
export async function write(child: Deno.ChildProcess, text: string): Promise<void> {
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
}

/** All of this process's input. */
export function input(): Promise<string> {
  return new Response(Deno.stdin.readable).text();
}

export async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export async function until(
  condition: () => boolean,
  deadline = performance.now() + 5000,
): Promise<void> {
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("it takes too long");
    await sleep(2);
  }
}
