/** The tables of local codes that a message was mapped by: those of the version of its source that it came by, whatever the source is now. */
import { decisionOfEvent } from '../inbound/sources/versions.js';
import { sourceStream } from '../inbound/sources/decide.js';
import type { Envelope } from '../log/envelope.js';
import type { EventLogReader, RecordedEvent } from '../log/event-log.js';
import { LocalCodes } from '../mapping/local-codes.js';
import { LruMap } from '../sealing/lru.js';

const VERSIONS_KEPT = 1_024;
const PAGE_EVENTS = 1_000;

export class SourceCodes {
  /** A version never changes; null: it has no tables. */
  private readonly versions = new LruMap<string, LocalCodes | null>(VERSIONS_KEPT);

  constructor(private readonly reader: Pick<EventLogReader, 'readPage'>) {}

  /** @throws what the log's reader throws; a version that the log does not know has no tables */
  async of({ source, sourceVersion }: Pick<Envelope, 'source' | 'sourceVersion'>): Promise<LocalCodes | undefined> {
    const key = `${sourceVersion}|${source}`;
    const known = this.versions.get(key);
    if (known !== undefined) return known ?? undefined;
    const event = await this.eventOf(source, sourceVersion);
    const tables = event === undefined ? [] : (decisionOfEvent(event).settings.codeTables ?? []);
    const rows = tables.flatMap((table) => table.rows);
    const codes = rows.length === 0 ? undefined : new LocalCodes(rows);
    this.versions.set(key, codes ?? null);
    return codes;
  }

  /** Event n of a source's stream is version n. */
  private async eventOf(source: string, version: number): Promise<RecordedEvent | undefined> {
    let before = 0;
    let after: RecordedEvent['position'] | undefined;
    for (;;) {
      const page = await this.reader.readPage({
        stream: sourceStream(source),
        limit: PAGE_EVENTS,
        ...(after === undefined ? {} : { after }),
      });
      const event = page[version - 1 - before];
      if (event !== undefined || page.length < PAGE_EVENTS) return event;
      before += page.length;
      after = page.at(-1)!.position;
    }
  }
}
