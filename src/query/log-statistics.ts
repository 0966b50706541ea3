/** How the log stands and what its writer does, for the graph and `anamnesis status`. */
import type pg from 'pg';
import { clinicalStream, PARTITIONS, type Envelope } from '../log/envelope.js';
import type { EventLogReader } from '../log/event-log.js';
import { parseHead } from '../log/evidence/tree-head.js';
import type { LogFigures } from '../log/meter.js';

export interface LogStatisticsView extends LogFigures {
  /** Bytes on disk, decimal; null where another server keeps the log. */
  readonly bytes: string | null;
  readonly blobs: string;
  readonly blobBytes: string;
  readonly signedHead: { readonly sequence: number; readonly position: string; readonly time: string } | null;
}

export interface PartitionView {
  readonly partition: number;
  readonly events: string;
  readonly lastRecordedAt: string | null;
}

/** Figures older than this are of a writer that is away. */
const FRESH_SECONDS = 5;
const NOTHING: LogFigures = {
  rate: 0,
  bytesPerSecond: 0,
  roundEvents: 0,
  roundBytes: 0,
  appendMs: 0,
  waitMs: 0,
  longestWaitMs: 0,
};

const STATISTICS = `
  select (select figures from hub.log_statistics where at > clock_timestamp() - make_interval(secs => ${FRESH_SECONDS})) as figures,
    (select sum(pg_total_relation_size(inhrelid))::int8 from pg_inherits where inhparent = 'log.event'::regclass) as bytes,
    (select count(*) from hub.blob where position is not null) as blobs,
    (select coalesce(sum(length), 0)::int8 from hub.blob where position is not null) as blob_bytes,
    (select head from evidence.head order by size desc limit 1) as head`;

export async function logStatistics(
  pool: pg.Pool,
  reader: Pick<EventLogReader, 'adapter'>,
): Promise<LogStatisticsView> {
  const { rows } = await pool.query<{
    figures: LogFigures | null;
    bytes: bigint | null;
    blobs: bigint;
    blob_bytes: bigint;
    head: string | null;
  }>(STATISTICS);
  const row = rows[0];
  const head = row?.head == null ? undefined : parseHead(row.head);
  return {
    ...(row?.figures ?? NOTHING),
    bytes: reader.adapter === 'postgres' ? (row?.bytes ?? 0n).toString() : null,
    blobs: (row?.blobs ?? 0n).toString(),
    blobBytes: (row?.blob_bytes ?? 0n).toString(),
    signedHead:
      head === undefined ? null : { sequence: head.sequence, position: head.position.toString(), time: head.time },
  };
}

/** The streams of messages. Two small reads each: asked for by people, not by machines. */
export function logPartitions(reader: Pick<EventLogReader, 'streamRevision' | 'readPage'>): Promise<PartitionView[]> {
  return Promise.all(
    Array.from({ length: PARTITIONS }, async (_, partition) => {
      const stream = clinicalStream(partition);
      const [revision, [last]] = await Promise.all([
        reader.streamRevision(stream),
        reader.readPage({ stream, direction: 'backwards', limit: 1 }),
      ]);
      const events = revision === 'no_stream' ? 0n : revision + 1n;
      const recordedAt =
        last === undefined ? null : (JSON.parse(last.metadata.toString('utf8')) as Envelope).recordedAt;
      return { partition, events: events.toString(), lastRecordedAt: recordedAt };
    }),
  );
}
