/** Changes to dead letters, and the lines behind them, in the role that appends. */
import type pg from 'pg';
import type { EventLogReader } from '../../log/event-log.js';
import type { PendingEvent, RecordedResult } from '../../log/writer.js';
import type { Json } from '../../mapping/fact.js';
import type { EventDecoder } from '../../projecting/decode.js';
import type { KeyStore } from '../../sealing/key-store.js';
import type { IntakePipeline } from '../intake/pipeline.js';
import type { SourceConfiguration } from '../source.js';
import { LetterDesk } from './letter-desk.js';
import { LineReleaser, type ReleaserLimits } from './releaser.js';
import { TakenIn } from './taken-in.js';

export interface LettersParts {
  readonly pool: pg.Pool;
  readonly reader: EventLogReader;
  readonly keys: KeyStore;
  readonly decoder: Pick<EventDecoder, 'decode'>;
  readonly writer: { submit(events: readonly PendingEvent[]): Promise<RecordedResult[]> };
  readonly pipeline: Pick<IntakePipeline, 'readmit' | 'betweenAppends'>;
  readonly tenant: string;
  readonly source: (id: string) => SourceConfiguration;
  readonly onTrouble: (error: unknown) => void;
  readonly limits?: Partial<ReleaserLimits>;
}

export interface Letters {
  /** For `serveMailbox`. */
  readonly handlers: Record<string, (payload: Json) => Promise<Json>>;
  readonly releaser: LineReleaser;
  stop(): Promise<void>;
}

/** Starts to let lines move on; what an earlier run left half done is found and finished. */
export async function startLetters(parts: LettersParts): Promise<Letters> {
  const { pool, reader, keys, decoder, writer, pipeline, tenant, source, onTrouble, limits } = parts;
  const takenIn = new TakenIn(pool, reader);
  await takenIn.open();
  const releaser = new LineReleaser({
    pool,
    hashes: keys.hashes,
    tenant,
    writer,
    takenIn,
    betweenAppends: (work) => pipeline.betweenAppends(work),
    onTrouble,
    ...(limits === undefined ? {} : { limits }),
  });
  const desk = new LetterDesk({
    pool,
    reader,
    decoder,
    keys,
    hashes: keys.hashes,
    tenant,
    writer,
    readmit: (readmission) => pipeline.readmit(readmission),
    source,
    takenIn,
    releaser,
  });
  releaser.start();
  return { handlers: desk.handlers(), releaser, stop: () => releaser.stop() };
}
