/** Bytes of a configuration, of all its files together: of some 100,000 peers. */
export const MAX_CONFIG_BYTES = 32 << 20;
