/**
 * Times of the choice between paths. All in milliseconds.
 *
 * @module
 */

/** When a path is doubted, asked and left. */
export interface PathLimits {
  /** Data was sent, and for so long nothing has shown that packets pass both ways: it is asked. */
  readonly askAfterMs: number;
  /** It is asked again as long as it does not answer. */
  readonly againMs: number;
  /** For so long it has been in doubt: the others are tried beside it. */
  readonly leaveAfterMs: number;
  /** So much earlier the first of them is connected, which takes time: nothing is sent by it yet. */
  readonly prepareMs: number;
  /** And nothing at all was heard for so long … */
  readonly silentMs: number;
  /** … or no question was answered for so long, though other packets come. */
  readonly patienceMs: number;
}

export interface ChooserSettings {
  readonly udp: PathLimits;
  /** Of a stream, which loses nothing and is late instead, and whose bind has a heartbeat of its own. */
  readonly stream: PathLimits;
  /** A fallback that has not answered gets company by the next. */
  readonly nextFallbackMs: number;
  /** Between handshakes by one path, while it does not answer. WireGuard's own come earlier. */
  readonly handshakeMs: number;
  /** A race has gone on for so long: it slows down, to a round each {@link slowMs}. */
  readonly slowAfterMs: number;
  readonly slowMs: number;
  /** And is given up. */
  readonly giveUpMs: number;
  /** After UDP was left it is tried again … */
  readonly returnMs: number;
  /** … later and later up to this, while it does not answer … */
  readonly slowReturnMs: number;
  /** … and if it was left within this time after it had been taken back, twice as late, … */
  readonly relapseMs: number;
  /** … up to this. */
  readonly maxReturnMs: number;
  readonly trial: TrialSettings;
  /** How long a fallback stays open when UDP is used again. */
  readonly lingerMs: number;
}

/** What UDP must answer to be taken back. */
export interface TrialSettings {
  readonly questions: number;
  readonly answers: number;
  /** Between questions. */
  readonly everyMs: number;
  /** How late an answer may be. */
  readonly limitMs: number;
}

export const CHOOSER_SETTINGS: ChooserSettings = {
  udp: {
    askAfterMs: 1_000,
    againMs: 125,
    leaveAfterMs: 2_000,
    prepareMs: 500,
    silentMs: 1_000,
    patienceMs: 4_000,
  },
  stream: {
    askAfterMs: 2_000,
    againMs: 1_000,
    leaveAfterMs: 6_000,
    prepareMs: 500,
    silentMs: 4_000,
    patienceMs: 12_000,
  },
  nextFallbackMs: 2_000,
  handshakeMs: 6_000,
  slowAfterMs: 10_000,
  slowMs: 2_000,
  giveUpMs: 120_000,
  returnMs: 5_000,
  slowReturnMs: 30_000,
  relapseMs: 60_000,
  maxReturnMs: 300_000,
  trial: { questions: 5, answers: 4, everyMs: 500, limitMs: 1_000 },
  lingerMs: 30_000,
};
