/** Where {@link ./services.ts} listens, TCP and UDP. */
export const PORTS = {
  http: 80,
  echo: 7,
  digest: 9001,
  duplex: 9002,
  observe: 9003,
  reset: 9004,
  who: 9005,
  stranger: 9006,
  /** Nothing listens there. */
  closed: 9999,
} as const;
