/**
 * Every metric of the agent, once: name, kind, labels and help. The registry, the reference page and
 * the dashboard's test are made from this table.
 *
 * The exposed name is `blocktorrent_` + the key in snake case (+ `_total` for counters); durations
 * are in seconds and sizes in bytes, as Prometheus asks. Labels take few, known values only.
 */

/** One row. `buckets` (upper bounds) for histograms only. */
export interface MetricRow {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  readonly buckets?: readonly number[];
}

const SHORT_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const LONG_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900];

export const METRICS = {
  alarms: gauge('Alarms that there are now, by what they are about; `status` tells them.', 'what'),
  // ingest
  ingestReadingsReceived: counter('Readings that arrived over MQTT, also those sent again.'),
  ingestReadingsCommitted: counter('Readings that are durable in the open batch.'),
  ingestReadingsAcknowledged: counter('Readings whose PUBACK was sent after they were durable.'),
  ingestReadingsUnacknowledged: counter(
    'Durable readings of QoS 0, which nobody would send again.',
  ),
  ingestDuplicates: counter('Readings marked as a repetition of an earlier one.'),
  ingestDeadLetters: counter('Readings that no decoder took.', 'reason'),
  ingestCommitFailures: counter('Group commits that failed; their readings come again.'),
  ingestReadingsHeld: gauge('Readings received and not yet durable.'),
  ingestCommitSeconds: histogram('Time of one group commit, its sync included.', SHORT_SECONDS),
  ingestBrokersConnected: gauge('MQTT brokers that are subscribed at now.'),
  ingestReconnects: counter('Connections to a broker that had to be made again.'),
  ingestTableRows: counter('Rows of tables that have become readings.'),
  ingestFolderFiles: counter('Files taken from watched folders.'),
  ingestRebirthRequests: counter('Sparkplug nodes that were asked for their births.'),
  ingestSessionsLost: counter('Sessions that a broker had forgotten when we came back.'),
  // batch
  batchOpenReadings: gauge('Readings in the open batch.'),
  batchOpenBytes: gauge('Size of the open batch.'),
  batchesClosed: counter('Batches closed.', 'reason'),
  batchDiskUsedBytes: gauge('Size of all batches and of the spool.'),
  batchDiskMaxBytes: gauge('Budget of the disk for batches and spool.'),
  batchDroppedReadings: counter('Readings lost because the budget was used up.', 'where'),
  batchAnchors: counter('Chain heads anchored on the ledger.', 'outcome'),
  // seal
  sealFiles: counter('Files sealed.', 'kind'),
  sealPlaintextBytes: counter('Bytes before compression.'),
  sealCiphertextBytes: counter('Bytes after compression, padding and encryption.'),
  sealSeconds: histogram('Time to seal one file.', LONG_SECONDS),
  // distribute
  distributeFiles: counter('Files that enough owners have receipted.', 'kind'),
  distributeUplinkBytes: counter('Bytes that our sockets sent to distribute files, TLS included.'),
  distributeCiphertextBytes: counter(
    'Size of the files that those bytes were sent for: uplink over this is the uplink ratio.',
  ),
  distributeReceipts: counter('Receipts that came, by owner.', 'msp'),
  distributeSeconds: histogram('From the manifest to the last receipt needed.', LONG_SECONDS),
  // record
  recordFiles: counter('Files recorded on the ledger.', 'kind'),
  recordVoided: counter('Files given up and recorded as void.'),
  pipelineFiles: gauge('Files of this source that are not yet available, by step.', 'step'),
  pipelineFilesOverdue: gauge(
    'Files that are not available in time (`distribute.availableWithinMs`).',
  ),
  // ledger
  ledgerTransactions: counter('Transactions and queries.', 'transaction', 'outcome'),
  ledgerSeconds: histogram(
    'Time of a transaction until committed, or of a query.',
    LONG_SECONDS,
    'transaction',
  ),
  ledgerEvents: counter('Ledger events seen.', 'event'),
  ledgerBlock: gauge('Number of the last block whose events were seen.'),
  // overlay
  overlaySentBytes: gauge('Bytes that our overlay sockets have sent since start, TLS included.'),
  overlayReceivedBytes: gauge('Bytes that they have received.'),
  overlayThrottled: counter('Minutes in which an organisation met its quota of requests.', 'msp'),
  // store
  storeChunks: gauge('Chunks kept.'),
  storeBytes: gauge('Bytes of chunks kept.'),
  storeFiles: gauge('Files of which chunks are kept.'),
  storeChunksAccepted: counter('Chunks verified and stored.'),
  storeRefused: counter('Offers and chunks refused.', 'msp'),
  storeReceipts: counter('Receipts signed.'),
  // upkeep
  repairChunks: counter('Chunks that came from other owners without the source.'),
  repairBytes: counter('Bytes of those chunks.'),
  repairFiles: gauge('Files that repair has still something to do for, by what.', 'step'),
  copiesChunks: gauge('Chunks kept here, by how many organisations keep them.', 'holders'),
  scrubLost: counter('Kept chunks that were found rotten or gone.'),
  scrubOpen: gauge('Those of them that are not yet replaced.'),
  scrubRounds: gauge('Rounds of the scrub that are complete.'),
  challenges: gauge('Challenges to other owners since the first start, by outcome.', 'outcome'),
  // consortium
  consortiumShardsConfirmed: counter('Key shards checked and confirmed.'),
  consortiumVotes: counter('Votes cast on audit requests.', 'vote'),
  consortiumReleases: counter('Releases of shards to auditors.'),
  // host
  hostTemperatureCelsius: gauge('Temperature of the processor, where a sensor tells.'),
  hostThrottled: gauge('1 while the firmware slows the processor down, where it tells.'),
  hostMemoryBytes: gauge('Memory of the machine.'),
  hostMemoryAvailableBytes: gauge('Memory that is to be had without swapping.'),
  hostDiskBytes: gauge('Size of the file system with dataDir.'),
  hostDiskFreeBytes: gauge('What the agent may still write there.'),
  hostFlashWearRatio: gauge('Wear of the eMMC from 0 to 1, where it tells.'),
} as const satisfies Readonly<Record<string, MetricRow>>;

/**
 * Counters whose labels take known values: these begin at 0 with each of them. To Prometheus a series
 * that begins with a count has not increased, so the first loss would alarm nobody.
 */
export const KNOWN_LABELS: Partial<
  Record<keyof typeof METRICS, Readonly<Record<string, readonly string[]>>>
> = {
  ingestDeadLetters: { reason: ['decoder'] },
  batchesClosed: { reason: ['age', 'readings', 'bytes', 'asked'] },
  batchDroppedReadings: { where: ['batch', 'arrival'] },
  batchAnchors: { outcome: ['anchored', 'failed'] },
  sealFiles: { kind: ['batch', 'file'] },
  distributeFiles: { kind: ['batch', 'file'] },
  recordFiles: { kind: ['batch', 'file'] },
  consortiumVotes: { vote: ['approve'] },
};

/** Exposed name of a row, e.g. `blocktorrent_ingest_dead_letters_total`. */
export function metricName(key: keyof typeof METRICS): string {
  const snake = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return `blocktorrent_${snake}${METRICS[key].kind === 'counter' ? '_total' : ''}`;
}

function counter<const L extends readonly string[]>(help: string, ...labels: L) {
  return { kind: 'counter', help, labels } as const;
}
function gauge<const L extends readonly string[]>(help: string, ...labels: L) {
  return { kind: 'gauge', help, labels } as const;
}
function histogram<const L extends readonly string[]>(
  help: string,
  buckets: readonly number[],
  ...labels: L
) {
  return { kind: 'histogram', help, buckets, labels } as const;
}
