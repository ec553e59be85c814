/**
 * Every bound on what may come from outside, with its unit in its name. Decoders check a length
 * against this table before they allocate; contracts check arguments against it.
 */
export const LIMITS = {
  /** Organisations of one consortium. */
  membersMax: 64,
  peersPerMemberMax: 256,
  /** Overlay keys that one peer may register in its life. */
  keysPerPeerMax: 64,
  nameCharsMax: 64,
  reasonCharsMax: 1000,
  pemCharsMax: 8192,
  overlayRootsMax: 4,
  /** Overlay certificates that one organisation has taken back; past it a new root is due. */
  revokedPerMemberMax: 1_000,
  weightMax: 1000,
  /** BitTorrent block: the unit of a request on the wire (BEP 3). */
  blockBytes: 16 * 1024,
  /** A chunk is a multiple of `blockBytes`. */
  chunkBytesMax: 16 * 1024 * 1024,
  chunksPerFileMax: 16_384,
  /** Ciphertext of one file: 16,384 chunks of 16 MiB. */
  fileBytesMax: 16_384 * 16 * 1024 * 1024,
  manifestBytesMax: 4 * 1024 * 1024,
  /** One BEP 10 message of ours, with its framing. */
  overlayMessageBytesMax: 4 * 1024 * 1024 + 64 * 1024,
  receiptBytesMax: 16 * 1024,
  /** Answer to a challenge. */
  answerBytesMax: 8 * 1024,
  receiptsPerFileMax: 256,
  masterTableBytesMax: 8 * 1024 * 1024,
  recordsPerTransactionMax: 100,
  filesPerAuditMax: 1000,
  filesPerConfirmMax: 300,
  releaseBytesMax: 4 * 1024 * 1024,
  faultsPerAuditMax: 200,
  /** Between approval and expiry, for a holder that released nothing to be at fault. */
  releaseTimeMsMin: 60_000,
  /** From a withdrawal until it excuses its holder: twice the ledger's time window. */
  withdrawalDelayMs: 240_000,
  /** What goes with one fault report. */
  evidenceBytesMax: 64 * 1024,
  /** Faults that one penalty rests on. */
  faultsPerPenaltyMax: 32,
  /** From proposing to enacting. */
  proposalLifeMsMax: 90 * 24 * 60 * 60 * 1000,
  /** Between two epochs that one member opens without a vote. */
  ownEpochPauseMs: 60 * 60 * 1000,
  requestsPerSecondMax: 1_000_000,
  /** Age file that says which chunks found which new owners. */
  replacementBytesMax: 256 * 1024,
  /** Late receipts and re-placements of one organisation that a record shows. */
  lateReceiptsPerOwnerMax: 8,
  replacementsPerMemberMax: 16,
  /** Entries that one query of the ledger walks over. */
  scanMax: 10_000,
  listLimitMax: 500,
  shardsMax: 64,
  /** Shards of all keys of one deposit of many. */
  shardsPerDepositMax: 300,
  /** Shards that one transaction purges. */
  shardsPerPurgeMax: 100,
  /** MQTT payload of one reading. */
  payloadBytesMax: 1024 * 1024,
  /** Values that a decoder found in one payload. */
  samplesPerReadingMax: 16_384,
  topicBytesMax: 65_535,
  ageHeaderBytesMax: 64 * 1024,
  recipientsPerFileMax: 64,
} as const;
